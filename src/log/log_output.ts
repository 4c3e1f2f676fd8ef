/** Writes log lines to standard error without ever throwing or blocking for long. */

import { writeSync } from "node:fs";

export interface LogOutputOptions {
  /** Writes to the descriptor and returns the number of bytes written; throws as `fs.writeSync`. */
  readonly write?: (bytes: Uint8Array) => number;
  /** How often to retry while the pipe is full, with a pause of one millisecond. */
  readonly maxRetries?: number;
  /** The line that reports dropped lines. */
  readonly droppedLine?: (count: number) => string;
}

const encoder = new TextEncoder();

/**
 * A function that writes a line to descriptor 2 synchronously. If the reader is gone (EPIPE) or
 * does not read (EAGAIN on a non-blocking pipe), lines are dropped; their number is written as soon
 * as the reader reads again.
 */
export function standardErrorOutput(options: LogOutputOptions = {}): (line: string) => void {
  const write = options.write ?? ((bytes: Uint8Array) => writeSync(2, bytes));
  const maxRetries = options.maxRetries ?? 50;
  const droppedLine = options.droppedLine ?? ((count) => `${droppedText(count)}\n`);
  let dropped = 0;
  return (line) => {
    const text = dropped === 0 ? line : droppedLine(dropped) + line;
    // Waiting once for a stuck reader is enough: while lines are being dropped, none of them waits.
    const rest = writeAll(encoder.encode(text), write, dropped === 0 ? maxRetries : 0);
    dropped = rest === 0 ? 0 : dropped + 1;
  };
}

/** The message that reports dropped lines. */
export function droppedText(count: number): string {
  return `dropped ${count} log ${count === 1 ? "line" : "lines"} (stderr not read)`;
}

/** Returns the number of bytes that could not be written. */
function writeAll(
  bytes: Uint8Array,
  write: (bytes: Uint8Array) => number,
  maxRetries: number,
): number {
  let rest = bytes;
  let retriesLeft = maxRetries;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(write(rest));
    } catch (error) {
      if ((error as { code?: string }).code === "EINTR") continue;
      if ((error as { code?: string }).code !== "EAGAIN" || retriesLeft-- <= 0) break;
      Atomics.wait(PAUSE, 0, 0, 1);
    }
  }
  return rest.length;
}

/** `Atomics.wait` on it is a synchronous sleep. */
const PAUSE = new Int32Array(new SharedArrayBuffer(4));
