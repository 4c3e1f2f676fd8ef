/** Commands that do their work and end, or are interrupted. */

import { OperatorError } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";

export interface InterruptibleCommand {
  /** For messages, such as `flanneld leases`. */
  readonly name: string;
  err(text: string): void;
  /** Returns the exit status. SIGINT and SIGTERM abort the signal. */
  perform(signal: AbortSignal): Promise<number>;
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Runs a command and returns its exit status; 1 for an `OperatorError`, whose message it prints in
 * one line; 130 if it was interrupted.
 */
export async function runInterruptible(
  { name, err, perform }: InterruptibleCommand,
): Promise<number> {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => stop.abort(new Error(`stopped by ${name}`));
  for (const name of SIGNALS) process.on(name, onSignal);
  try {
    return await perform(stop.signal);
  } catch (error) {
    if (stop.signal.aborted && error === stop.signal.reason) return 130;
    if (!(error instanceof OperatorError)) throw error;
    err(`${name}: ${printableLine(error.message)}\n`);
    return 1;
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal);
  }
}
