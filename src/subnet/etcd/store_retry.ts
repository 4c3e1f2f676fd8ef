/** Retries calls through an outage of etcd, and converts etcd's errors into `StoreError`. */

import { type Log } from "../../log/log.ts";
import { RepeatedFailure } from "../../log/repeated_failure.ts";
import { EtcdError, isUnreachable } from "../../etcd/client/etcd_error.ts";
import { StoreError } from "../lease_store.ts";
import { backoffMs, type Clock, sleep } from "../../base/clock.ts";

/** An attempt that reaches no server causes no load; see etcd/client/watch.ts. */
const UNREACHABLE_MS = 1_000;

export interface RetryOptions {
  /** What is attempted, for the log, as the subject of "… failed". */
  readonly what: string;
  readonly log: Log;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly firstMs: number;
  readonly maxMs: number;
}

/**
 * Repeats the attempt while it fails with an `EtcdError`, with pauses that double, with jitter, and
 * returns its result. Throws any other error at once, and the signal's reason.
 */
export async function retryUntilSuccess<T>(
  options: RetryOptions,
  attempt: () => Promise<T>,
): Promise<T> {
  const { what, log, clock, signal } = options;
  const failure = new RepeatedFailure({ what, log, clock });
  for (;;) {
    try {
      signal.throwIfAborted();
      const result = await attempt();
      failure.succeeded();
      return result;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof EtcdError)) throw error;
      failure.failed(error);
      const maxMs = isUnreachable(error) ? Math.min(options.maxMs, UNREACHABLE_MS) : options.maxMs;
      const { firstMs } = options;
      await sleep(clock, backoffMs(failure.failures, { firstMs, maxMs }, clock), signal);
    }
  }
}

/** The result of a call to etcd; its failure is thrown as `StoreError`. */
export async function throwingStoreError<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (!(cause instanceof EtcdError)) throw cause;
    throw new StoreError(cause.message, { cause });
  }
}
