import { expect, test } from "bun:test";
import { RepairHistory } from "../../../src/base/repair_history.ts";
import { FakeClock } from "../../support/fake_clock.ts";

test("the last 20 repairs are kept, the newest first, with the time", async () => {
  const clock = new FakeClock();
  const startMs = clock.wallMs();
  const history = new RepairHistory(clock);
  expect(history.list()).toEqual([]);
  for (let i = 0; i < 25; i++) {
    history.add(i % 2 === 0 ? "restored" : "removed", () => `entry ${i}`);
    await clock.advance(1000);
  }
  const list = history.list();
  expect(list).toHaveLength(20);
  expect(list[0]).toEqual({ atMs: startMs + 24_000, action: "restored", entry: "entry 24" });
  expect(list.at(-1)).toEqual({ atMs: startMs + 5_000, action: "removed", entry: "entry 5" });
});

test("an entry becomes text only when it is shown", () => {
  const history = new RepairHistory(new FakeClock());
  let texts = 0;
  for (let i = 0; i < 1000; i++) history.add("restored", () => `${texts++}`);
  expect(texts).toBe(0);
  history.list();
  expect(texts).toBe(20);
});
