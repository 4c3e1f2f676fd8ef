/** Repeats a dump of a table that changes during the dump (NLM_F_DUMP_INTR, linux/netlink.h). */

import { type Clock, pause } from "../../base/clock.ts";
import { DumpInterruptedError } from "./kernel_error.ts";

/** Attempts to read a table before that fails. */
export const DUMP_TRIES = 8;

/** One attempt: the result, or the table that changed during it. */
export type DumpAttempt<T> = { readonly result: T } | { readonly interrupted: string };

/**
 * Reads until no attempt is interrupted, with pauses of 2, 4, … 128 ms. Throws
 * `DumpInterruptedError` if all `DUMP_TRIES` attempts are interrupted; an incomplete table is never
 * returned.
 */
export async function retryInterruptedDump<T>(
  clock: Pick<Clock, "setTimer">,
  read: () => DumpAttempt<T>,
): Promise<T> {
  for (let tries = 1;; tries++) {
    const reading = read();
    if ("result" in reading) return reading.result;
    if (tries === DUMP_TRIES) throw new DumpInterruptedError(reading.interrupted, tries);
    await pause(clock, 2 ** tries);
  }
}
