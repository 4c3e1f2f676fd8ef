import { beforeEach, describe, expect, test } from "bun:test";
import { PeerProblems } from "../../../src/overlay/peer_problems.ts";
import type { LeaseKey } from "../../../src/subnet/lease.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const KEY = "10.5.2.0-24" as LeaseKey;

let problems: PeerProblems;
let records: LogRecord[];

beforeEach(() => {
  const collected = collectingLog();
  records = collected.records;
  problems = new PeerProblems({ log: collected.log, clock: new FakeClock() });
});

describe("PeerProblems", () => {
  test("logs a reason once, and again when it has changed", () => {
    for (const reason of ["one", "one", "two"]) problems.setIgnored(KEY, reason);
    for (const reason of ["three", "three", "four"]) problems.setUnreachable(KEY, reason);
    expect(records.map(({ level, msg }) => `${level}: ${msg}`)).toEqual([
      "warn: ignoring lease 10.5.2.0-24: one",
      "warn: ignoring lease 10.5.2.0-24: two",
      "warn: no route to lease 10.5.2.0-24: three",
      "warn: no route to lease 10.5.2.0-24: four",
    ]);
    expect(records.every(({ stack }) => stack === undefined)).toBe(true);
  });

  test("logs a bug of this program as an error with its stack", () => {
    problems.setIgnored(KEY, "this program cannot process it", new RangeError("too deep"));
    expect(records).toHaveLength(1);
    expect(records[0]?.level).toBe("error");
    expect(records[0]?.["stack"]).toContain("RangeError: too deep");
  });

  test("lists a peer as ignored or unreachable, not as both, until it is used or deleted", () => {
    const lists = () => [[...problems.ignored.values()], [...problems.unreachable.values()]];
    problems.setUnreachable(KEY, "far");
    expect(lists()).toEqual([[], ["far"]]);
    problems.setIgnored(KEY, "wrong");
    expect(lists()).toEqual([["wrong"], []]);
    problems.setUsed(KEY, "far");
    expect(lists()).toEqual([[], ["far"]]);
    problems.setUsed(KEY, undefined);
    expect(lists()).toEqual([[], []]);
    problems.setIgnored(KEY, "wrong");
    problems.delete(KEY);
    problems.setUnreachable(KEY, "far");
    problems.delete(KEY);
    expect(lists()).toEqual([[], []]);
  });

  test("logs at the end what it has held back", () => {
    for (let n = 1; n <= 20; n++) problems.setIgnored(`node-${n}` as LeaseKey, "wrong");
    const before = records.length;
    expect(before).toBeLessThan(20);
    problems[Symbol.dispose]();
    expect(records).toHaveLength(before + 1);
  });
});
