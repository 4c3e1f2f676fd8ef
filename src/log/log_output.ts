/** Standard error as a place that takes lines and never makes trouble. */

import { writeSync } from "node:fs";

export interface LogOutputOptions {
  /** Writes to the descriptor and returns how many bytes went; throws as `fs.writeSync`. */
  readonly write?: (bytes: Uint8Array) => number;
  /** How often a full pipe is tried again, a millisecond apart. */
  readonly tries?: number;
  /** The line that tells how many were lost. */
  readonly lostLine?: (count: number) => string;
}

const encoder = new TextEncoder();

/**
 * A function that writes a line to descriptor 2 at once. A reader that has gone (EPIPE) or does not
 * read (EAGAIN on a non-blocking pipe) costs lines, never an exception; the lines lost are counted
 * and the count is written as soon as the reader reads again.
 */
export function standardErrorOutput(options: LogOutputOptions = {}): (line: string) => void {
  const write = options.write ?? ((bytes: Uint8Array) => writeSync(2, bytes));
  const tries = options.tries ?? 50;
  const lostLine = options.lostLine ?? ((count) => `${lostText(count)}\n`);
  let lost = 0;
  return (line) => {
    const text = lost === 0 ? line : lostLine(lost) + line;
    // Waiting once for a stuck reader is enough: while lines are being lost, none waits.
    const rest = writeAll(encoder.encode(text), write, lost === 0 ? tries : 0);
    lost = rest === 0 ? 0 : lost + 1;
  };
}

/** What to say when lines were lost. */
export function lostText(count: number): string {
  return `${count} log lines were lost: nobody read them`;
}

/** Returns the number of bytes that could not be written. */
function writeAll(bytes: Uint8Array, write: (bytes: Uint8Array) => number, tries: number): number {
  let rest = bytes;
  let triesLeft = tries;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(write(rest));
    } catch (error) {
      if ((error as { code?: string }).code === "EINTR") continue;
      if ((error as { code?: string }).code !== "EAGAIN" || triesLeft-- <= 0) break;
      Atomics.wait(PAUSE, 0, 0, 1);
    }
  }
  return rest.length;
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));
