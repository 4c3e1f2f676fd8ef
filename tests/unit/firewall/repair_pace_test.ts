import { beforeEach, expect, test } from "bun:test";
import { RepairPace } from "../../../src/firewall/repair_pace.ts";

let nowMs: number;
let pace: RepairPace;

beforeEach(() => {
  nowMs = 0;
  pace = new RepairPace({ nowMs: () => nowMs });
});

/** A check that starts now and takes this long. */
function check(durationMs: number, { hasFailed = false } = {}): void {
  const startedAtMs = nowMs;
  nowMs += durationMs;
  pace.checked({ startedAtMs, hasFailed });
}

test("the first check is immediate, the next one follows after a short delay", () => {
  expect(pace.delayMs()).toBe(0);
  check(1);
  expect(pace.delayMs()).toBe(100);
  nowMs = 500;
  expect(pace.delayMs()).toBe(0);
});

test("slow checks take a tenth of the time at most", () => {
  check(300);
  expect(pace.delayMs()).toBe(2700);
  check(60_000);
  expect(pace.delayMs()).toBe(10_000);
});

test("failures are retried after 1, 2, 4 … 30 s, until a check succeeds", () => {
  const delays = Array.from({ length: 7 }, () => {
    check(0, { hasFailed: true });
    return pace.delayMs();
  });
  expect(delays).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  check(0);
  expect(pace.delayMs()).toBe(100);
});

test("new rules do not wait for the delay after a failure", () => {
  check(0, { hasFailed: true });
  pace.reset();
  expect(pace.delayMs()).toBe(0);
});

test("frequent repairs are damped, which is reported once, until the other program stops", () => {
  const reports = Array.from({ length: 25 }, (_, index) => {
    nowMs = index * 1000;
    return pace.repaired().startsDamping;
  });
  expect(reports.indexOf(true)).toBe(19);
  expect(reports.lastIndexOf(true)).toBe(19);
  nowMs = 25_000;
  check(1);
  expect(pace.isDamped).toBe(true);
  expect(pace.delayMs()).toBe(10_000);
  nowMs = 100_000;
  check(1);
  expect(pace.isDamped).toBe(false);
  expect(pace.delayMs()).toBe(100);
});
