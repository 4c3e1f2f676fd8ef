/** Waits for what cannot notify: files, processes, a server that starts. */

import { type Clock, sleep } from "../base/clock.ts";

export interface PollOptions {
  readonly clock: Clock;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Calls `probe` until it returns true, and returns true; returns false after the timeout. Throws
 * what `probe` throws, and the signal's reason when it aborts.
 */
export async function poll(
  probe: () => boolean | Promise<boolean>,
  { clock, intervalMs, timeoutMs, signal = NEVER }: PollOptions,
): Promise<boolean> {
  const deadlineMs = clock.nowMs() + timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    if (await probe()) return true;
    if (clock.nowMs() > deadlineMs) return false;
    await sleep(clock, intervalMs, signal);
  }
}

const NEVER = new AbortController().signal;
