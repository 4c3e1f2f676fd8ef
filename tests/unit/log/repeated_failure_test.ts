import { expect, test } from "bun:test";
import type { Log } from "../../../src/log/log.ts";
import { createLogger } from "../../../src/log/logger.ts";
import { durationText, RepeatedFailure } from "../../../src/log/repeated_failure.ts";

interface Trial {
  readonly failure: RepeatedFailure;
  readonly lines: string[];
  readonly clock: { now: number; nowMs(): number };
}

function trial(): Trial {
  const lines: string[] = [];
  const clock = { now: 1000, nowMs: () => clock.now };
  const log: Log = createLogger({
    format: "text",
    verbosity: 0,
    write: (line) => lines.push(`${line[0]} ${line.slice(line.indexOf("] ") + 2).trimEnd()}`),
  });
  const failure = new RepeatedFailure({
    log,
    what: "the connection to etcd",
    clock,
  });
  return { failure, lines, clock };
}

test("an outage of a day with an attempt each second is a handful of lines", () => {
  const { failure, lines, clock } = trial();
  for (let second = 0; second < 86_400; second++, clock.now += 1000) {
    failure.failed(new Error("refused"));
  }
  expect(lines.slice(0, 3)).toEqual([
    "W the connection to etcd failed: refused",
    "W the connection to etcd keeps failing (60 times since the last message, for 1 min 0 s): " +
    "refused",
    "W the connection to etcd keeps failing (120 times since the last message, for 3 min 0 s): " +
    "refused",
  ]);
  // 0, 1, 3, 7, 15, 31, 63 minutes, then each hour.
  expect(lines).toHaveLength(7 + 22);
});

test("a success after failures is logged once, with their count and duration", () => {
  const { failure, lines, clock } = trial();
  failure.succeeded();
  expect(lines).toEqual([]);
  for (let i = 0; i < 5; i++, clock.now += 2000) failure.failed("refused");
  expect(failure.failures).toBe(5);
  failure.succeeded();
  failure.succeeded();
  expect(lines.slice(1)).toEqual([
    "I the connection to etcd works again after 5 failures in 10 s",
  ]);
  expect(failure.failures).toBe(0);
});

test("after a success, the next failure is logged at once", () => {
  const { failure, lines } = trial();
  failure.failed("refused");
  failure.succeeded();
  failure.failed("refused");
  expect(lines).toHaveLength(3);
});

test("alternating failures and successes do not fill the log, until a quiet period", () => {
  const { failure, lines, clock } = trial();
  for (let second = 0; second < 3600; second++, clock.now += 1000) {
    failure.failed("refused");
    failure.succeeded();
  }
  expect(lines.length).toBeLessThan(40);
  expect(lines.length % 2).toBe(0);
  clock.now += 900_000;
  const before = lines.length;
  failure.failed("refused");
  expect(lines).toHaveLength(before + 1);
});

test("a failure that persists after alternating is logged when it is no longer muted", () => {
  const { failure, lines, clock } = trial();
  for (let i = 0; i < 2; i++) {
    failure.failed("refused");
    failure.succeeded();
  }
  for (let second = 0; second < 12; second++, clock.now += 1000) failure.failed("refused");
  expect(lines.slice(4)).toEqual([
    "W the connection to etcd keeps failing (11 times since the last message, for 10 s): refused",
  ]);
});

test("a new reason is logged at once, but the number of reasons is bounded", () => {
  const { failure, lines } = trial();
  for (let i = 0; i < 1000; i++) failure.failed(new Error(`refused by port ${i}`));
  expect(lines).toHaveLength(9);
  expect(lines[1]).toBe("W the connection to etcd failed: refused by port 1");
});

test("durations are short text", () => {
  expect([3, 999, 1000, 61_000, 7_800_000].map(durationText)).toEqual([
    "3 ms",
    "999 ms",
    "1 s",
    "1 min 1 s",
    "2 h 10 min",
  ]);
});
