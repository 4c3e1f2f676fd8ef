import { expect, test } from "bun:test";
import { DumpInterruptedError } from "../../../src/kernel/kernel.ts";
import {
  DUMP_TRIES,
  type DumpAttempt,
  retryInterruptedDump,
} from "../../../src/kernel/wire/interrupted_dump.ts";

/** A reader whose first attempts are interrupted, and the pauses between its attempts. */
function reader(interruptions: number) {
  const pauses: number[] = [];
  let readings = 0;
  const read = (): DumpAttempt<string> =>
    ++readings <= interruptions ? { interrupted: "route" } : { result: "whole" };
  const setTimer = (delayMs: number, callback: () => void) => {
    pauses.push(delayMs);
    callback();
    return { [Symbol.dispose]: () => {} };
  };
  return { pauses, outcome: () => retryInterruptedDump({ setTimer }, read) };
}

test("a table that does not change is read once, without a pause", async () => {
  const { pauses, outcome } = reader(0);
  expect(await outcome()).toBe("whole");
  expect(pauses).toEqual([]);
});

test("an interrupted attempt is discarded and repeated after growing pauses", async () => {
  const { pauses, outcome } = reader(DUMP_TRIES - 1);
  expect(await outcome()).toBe("whole");
  expect(pauses).toEqual([2, 4, 8, 16, 32, 64, 128]);
});

test("a table that changes during every attempt is an error that names it", async () => {
  const { outcome } = reader(DUMP_TRIES);
  const error = await outcome().catch((error: unknown) => error);
  expect(error).toBeInstanceOf(DumpInterruptedError);
  expect(error).toMatchObject({
    operation: "read the route table",
    errno: "EINTR",
    errnoNumber: 4,
  });
});
