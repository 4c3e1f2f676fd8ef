/** What the commands of an operator have in common: they read or change the store, and end. */

import { type Clock, systemClock } from "../base/clock.ts";
import { OperatorError } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import { runInterruptible } from "../cli/interruptible_command.ts";
import type { Log } from "../log/log.ts";
import { createLogger } from "../log/logger.ts";

/** What a command reads and writes: data from `input` and to `out`, notes and errors to `err`. */
export interface OperatorStreams {
  input(): Promise<string>;
  out(text: string): Promise<void>;
  err(text: string): void;
  /** The width of the terminal; `undefined` if the output is not for one. */
  readonly columns: number | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface OperatorContext {
  readonly streams: OperatorStreams;
  readonly clock: Clock;
  readonly log: Log;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** Prints one line for the operator, which is not a part of the result. */
  note(line: string): void;
}

/** A command that cannot do what it is asked to do; the message says what to do instead. */
export class RefusedError extends OperatorError {
  override readonly name = "RefusedError";
}

/** Runs a command and returns the exit status: its own, 1 for an `OperatorError`, 130. */
export function runOperator(
  name: string,
  streams: OperatorStreams,
  perform: (context: OperatorContext) => Promise<number>,
): Promise<number> {
  return runInterruptible({
    name,
    err: (text) => streams.err(text),
    perform: (signal) =>
      perform({
        streams,
        clock: systemClock,
        log: createLogger({ format: "text", verbosity: 0 }),
        signal,
        note: (line) => streams.err(`${printableLine(line)}\n`),
      }),
  });
}
