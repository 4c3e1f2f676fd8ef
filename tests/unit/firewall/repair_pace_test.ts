import { expect, test } from "bun:test";
import { RepairPace } from "../../../src/firewall/repair_pace.ts";

function look(pace: RepairPace, startedAtMs: number, lookMs: number, failed = false): void {
  pace.looked({ startedAtMs, endedAtMs: startedAtMs + lookMs, failed });
}

test("a first look is at once, the next after a short pause", () => {
  const pace = new RepairPace();
  expect(pace.waitMs(0)).toBe(0);
  look(pace, 0, 1);
  expect(pace.waitMs(1)).toBe(100);
  expect(pace.waitMs(500)).toBe(0);
});

test("looks that take long take a tenth of the time at most", () => {
  const pace = new RepairPace();
  look(pace, 0, 300);
  expect(pace.waitMs(300)).toBe(2700);
  look(pace, 3000, 60_000);
  expect(pace.waitMs(63_000)).toBe(10_000);
});

test("failures are tried again after 1, 2, 4 … 30 s, until one look succeeds", () => {
  const pace = new RepairPace();
  const waits = Array.from({ length: 7 }, () => {
    look(pace, 0, 0, true);
    return pace.waitMs(0);
  });
  expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  look(pace, 0, 0);
  expect(pace.waitMs(0)).toBe(100);
});

test("something new to do does not wait for a failure's pause", () => {
  const pace = new RepairPace();
  look(pace, 0, 0, true);
  pace.reset();
  expect(pace.waitMs(0)).toBe(0);
});

test("a fight is noticed once, slows corrections down, and ends when the other stops", () => {
  const pace = new RepairPace();
  const notices = Array.from({ length: 25 }, (_, i) => pace.corrected(i * 1000));
  expect(notices.filter((notice) => notice === "fight begins")).toHaveLength(1);
  expect(notices[19]).toBe("fight begins");
  look(pace, 25_000, 1);
  expect(pace.waitMs(25_001)).toBe(10_000);
  look(pace, 100_000, 1);
  expect(pace.isFighting).toBe(false);
  expect(pace.waitMs(100_001)).toBe(100);
});
