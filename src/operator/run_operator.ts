/** What the commands of an operator have in common: they read or change the store, and end. */

import { type Clock, systemClock } from "../base/clock.ts";
import { OperatorError } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
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
export async function runOperator(
  name: string,
  streams: OperatorStreams,
  perform: (context: OperatorContext) => Promise<number>,
): Promise<number> {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => stop.abort(new Error(`stopped by ${name}`));
  for (const name of SIGNALS) process.on(name, onSignal);
  try {
    return await perform({
      streams,
      clock: systemClock,
      log: createLogger({ format: "text", verbosity: 0 }),
      signal: stop.signal,
      note: (line) => streams.err(`${printableLine(line)}\n`),
    });
  } catch (error) {
    if (stop.signal.aborted && error === stop.signal.reason) return 130;
    if (!(error instanceof OperatorError)) throw error;
    streams.err(`${name}: ${printableLine(error.message)}\n`);
    return 1;
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal);
  }
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;
