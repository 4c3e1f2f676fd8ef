import { beforeEach, describe, expect, spyOn, test } from "bun:test";
import { Schedule } from "../../../src/reconcile/schedule.ts";
import { FakeClock } from "../../support/fake_clock.ts";

let clock: FakeClock;
let schedule: Schedule;
let beginMs: number;
/** When work was started, in milliseconds since the beginning. */
let starts: number[];
let mustDump: boolean;

beforeEach(() => {
  clock = new FakeClock();
  beginMs = clock.nowMs();
  starts = [];
  mustDump = false;
  schedule = new Schedule({
    clock,
    mustDump: () => mustDump,
    start: () => void starts.push(clock.nowMs() - beginMs),
  });
});

/** There is work at each of these times. */
async function markAt(...times: number[]): Promise<void> {
  for (const time of times) {
    await clock.advance(beginMs + time - clock.nowMs());
    schedule.mark();
  }
}

describe("Schedule, after mark(),", () => {
  test("starts at once after a quiet time, after the current events", async () => {
    schedule.mark();
    schedule.mark();
    expect(starts).toEqual([]);
    await clock.advance(1000);
    expect(starts).toEqual([0]);
    await markAt(2000, 2050);
    await clock.advance(1000);
    expect(starts).toEqual([0, 2000, 2050]);
  });

  test("waits for more work when the last change was less than 50 ms ago", async () => {
    await markAt(0, 49);
    await clock.advance(1000);
    expect(starts).toEqual([0, 54]);
  });

  test("starts after 5 ms without new work", async () => {
    await markAt(0, 10, 12, 16);
    await clock.advance(1000);
    expect(starts).toEqual([0, 21]);
    await markAt(2000, 2010);
    await clock.advance(1000);
    expect(starts).toEqual([0, 21, 2000, 2015]);
  });

  test("starts some 50 ms after the first change although more keep arriving", async () => {
    await markAt(0, ...Array.from({ length: 30 }, (_, i) => 10 + 4 * i));
    await clock.advance(1000);
    const [, second, third] = starts as [number, number, number];
    expect(second).toBeGreaterThanOrEqual(60);
    expect(second).toBeLessThan(66);
    expect(third).toBeGreaterThanOrEqual(second + 50);
    expect(third).toBeLessThan(second + 62);
  });

  test("starts when the limit is over, even right after a change", async () => {
    await markAt(0, ...Array.from({ length: 14 }, (_, i) => 10 + 4 * i));
    await clock.advance(1000);
    expect(starts).toEqual([0, 63]);
  });

  test("starts at the limit itself, not after the change before it", async () => {
    await markAt(0, ...Array.from({ length: 17 }, (_, i) => 10 + 3 * i));
    await clock.advance(1000);
    expect(starts).toEqual([0, 60]);
  });

  test("waits for more work when a dump is needed", async () => {
    mustDump = true;
    await markAt(0, 3);
    await clock.advance(1000);
    expect(starts).toEqual([8]);
  });

  test("waits for more work when a dump becomes needed at the last moment", async () => {
    schedule.mark();
    mustDump = true;
    await clock.advance(1000);
    expect(starts).toEqual([5]);
  });
});

describe("Schedule, after setNext(),", () => {
  test("starts at that time, or soon when it has passed", async () => {
    schedule.setNext(beginMs + 700);
    await clock.advance(1000);
    expect(starts).toEqual([700]);
    schedule.setNext(beginMs);
    await clock.advance(1000);
    expect(starts).toEqual([700, 1005]);
  });

  test("keeps the timer for the same time until it has started", async () => {
    const timers = spyOn(clock, "setTimer");
    schedule.setNext(beginMs + 700);
    schedule.setNext(beginMs + 700);
    expect(timers).toHaveBeenCalledTimes(1);
    await clock.advance(1000);
    expect(starts).toEqual([700]);
    schedule.setNext(beginMs + 700);
    await clock.advance(1000);
    expect(starts).toEqual([700, 1005]);
  });

  test("replaces the previous time", async () => {
    schedule.setNext(beginMs + 700);
    schedule.setNext(beginMs + 900);
    await clock.advance(1000);
    expect(starts).toEqual([900]);
    schedule.setNext(beginMs + 1500);
    const timers = spyOn(clock, "setTimer");
    schedule.setNext(Infinity);
    await clock.advance(10_000);
    expect(starts).toEqual([900]);
    expect(timers).not.toHaveBeenCalled(); // The system's takes an infinite delay for none.
  });
});

describe("Schedule, once disposed,", () => {
  test("starts nothing that was due", async () => {
    schedule.mark();
    await clock.advance(10);
    schedule.mark();
    schedule.setNext(beginMs + 20);
    schedule[Symbol.dispose]();
    await clock.advance(1000);
    expect(starts).toEqual([0]);
  });

  test("starts no imminent work", async () => {
    schedule.mark();
    schedule[Symbol.dispose]();
    await clock.advance(1000);
    expect(starts).toEqual([]);
  });

  test("takes no more work", async () => {
    schedule[Symbol.dispose]();
    schedule.mark();
    mustDump = true;
    schedule.mark();
    schedule.setNext(beginMs + 20);
    await clock.advance(1000);
    expect(starts).toEqual([]);
  });
});
