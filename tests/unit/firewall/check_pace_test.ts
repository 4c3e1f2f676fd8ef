import { beforeEach, expect, test } from "bun:test";
import { CheckPace } from "../../../src/firewall/check_pace.ts";

let nowMs: number;
let pace: CheckPace;

beforeEach(() => {
  nowMs = 0;
  pace = new CheckPace({ nowMs: () => nowMs });
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
