/** Retries calls through an outage of a store. */

import { backoffMs, type Clock, sleep } from "../base/clock.ts";
import type { Log } from "../log/log.ts";
import { RepeatedFailure } from "../log/repeated_failure.ts";

export interface RetryOptions {
  /** What is attempted, for the log, as the subject of "… failed". */
  readonly what: string;
  readonly log: Log;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly firstMs: number;
  readonly maxMs: number;
  /** How to repeat an attempt that failed with this error; `undefined`: not at all. */
  readonly retryOf: (error: unknown) => StoreRetry | undefined;
}

/** What a store knows of a failed call that may be repeated. */
export interface StoreRetry {
  /** No server was reached, so the attempt caused no load. */
  readonly isUnreachable?: boolean;
  /** How long the server asks to wait, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
}

/**
 * Repeats the attempt while its error may be retried, with pauses that double, with jitter, and
 * returns its result. Throws any other error at once, and the signal's reason. The failures are
 * logged, so that readiness shows them.
 */
export async function retryUntilSuccess<T>(
  options: RetryOptions,
  attempt: () => Promise<T>,
): Promise<T> {
  const { what, log, clock, signal, retryOf } = options;
  const failure = new RepeatedFailure({ what, log, clock });
  for (;;) {
    try {
      signal.throwIfAborted();
      const result = await attempt();
      failure.succeeded();
      return result;
    } catch (error) {
      signal.throwIfAborted();
      const retry = retryOf(error);
      if (retry === undefined) throw error;
      failure.failed(error);
      await sleep(clock, retryPauseMs(failure.failures, retry, options), signal);
    }
  }
}

/** The pause after `failures` failures, 1 or more, in milliseconds. */
export function retryPauseMs(
  failures: number,
  retry: StoreRetry,
  options: Pick<RetryOptions, "clock" | "firstMs" | "maxMs">,
): number {
  const { firstMs, clock } = options;
  const { isUnreachable = false, retryAfterMs = 0 } = retry;
  const maxMs = isUnreachable ? Math.min(options.maxMs, UNREACHABLE_MS) : options.maxMs;
  const ownMs = backoffMs(failures, { firstMs, maxMs }, clock);
  if (retryAfterMs <= ownMs) return ownMs;
  // Each node at another time: they were all refused together.
  return Math.min(retryAfterMs, MAX_RETRY_AFTER_MS) + clock.random() * ownMs;
}

const UNREACHABLE_MS = 1_000;
/** A server that asks for more is asked again anyway. */
const MAX_RETRY_AFTER_MS = 60_000;
