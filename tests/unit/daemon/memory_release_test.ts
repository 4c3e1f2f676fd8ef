import { beforeEach, expect, test } from "bun:test";
import { MemoryRelease } from "../../../src/daemon/memory_release.ts";
import { FakeClock } from "../../support/fake_clock.ts";

let clock: FakeClock;
let releases: number[];
let memory: MemoryRelease;

beforeEach(() => {
  clock = new FakeClock();
  releases = [];
  memory = new MemoryRelease({ clock, release: () => void releases.push(clock.nowMs()) });
});

test("releases memory once, a while after work has begun", async () => {
  memory.onWork();
  await clock.advance(10_000);
  memory.onWork();
  expect(releases).toEqual([]);
  await clock.advance(5000);
  expect(releases).toHaveLength(1);
  await clock.advance(3_600_000);
  expect(releases).toHaveLength(1);
});

test("releases memory every ten minutes at most, however much work there is", async () => {
  const begin = clock.nowMs();
  for (let second = 0; second < 1800; second++) {
    memory.onWork();
    await clock.advance(1000);
  }
  expect(releases.map((time) => time - begin)).toEqual([15_000, 615_000, 1_215_000]);
});

test("releases nothing after its end", async () => {
  memory.onWork();
  memory[Symbol.dispose]();
  await clock.advance(60_000);
  expect(releases).toEqual([]);
});
