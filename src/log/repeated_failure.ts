/**
 * Rate limit for one operation that may fail for hours, such as reading from a store during an
 * outage.
 *
 * It distinguishes reasons and reports when the operation works again. `RecurringEvent` is for an
 * event that has no end, `RateLimitedWarnings` for many similar objects.
 */

import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import type { Log } from "./log.ts";

export interface RepeatedFailureOptions {
  readonly log: Log;
  readonly clock: Pick<Clock, "nowMs">;
  /**
   * The operation, as the subject of "… failed" and "… works again", such as `reading the kernel`.
   */
  readonly what: string;
  readonly level?: "warn" | "error";
  /** Delay before the same reason is logged again, doubled after each line up to the maximum. */
  readonly firstDelayMs?: number;
  readonly maxDelayMs?: number;
}

/** The failures of one operation. */
export class RepeatedFailure {
  readonly #options: Required<RepeatedFailureOptions>;
  readonly #reasons = new Map<string, Reason>();
  #failures = 0;
  #firstFailureMs = 0;
  /** A failure was logged since the last success. */
  #isAnnounced = false;
  /**
   * If the operation alternates between failure and success: how long to log nothing after a
   * success.
   */
  #muteMs = 0;
  #mutedUntilMs = -Infinity;

  constructor(options: RepeatedFailureOptions) {
    this.#options = { level: "warn", firstDelayMs: 60_000, maxDelayMs: 3_600_000, ...options };
  }

  /** Failures since the last success. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * Reports a failure. A new reason is logged at once, the same one again after 1, 2, 4 … 60
   * minutes, with its count. Reasons beyond the eighth share one limit. If the operation has failed
   * and worked again more than once, its failures are not logged for 10, 20 … 300 seconds after
   * each success.
   */
  failed(error: unknown, level = this.#options.level): void {
    const { log, clock, firstDelayMs, maxDelayMs, what } = this.#options;
    const nowMs = clock.nowMs();
    if (this.#failures++ === 0) {
      this.#firstFailureMs = nowMs;
      if (nowMs > this.#mutedUntilMs + MAX_MUTE_MS) this.#muteMs = 0;
    }
    const text = errorMessage(error);
    const key = this.#reasons.has(text) || this.#reasons.size < MAX_REASONS ? text : OTHER;
    const reason = this.#reasons.get(key) ??
      { unlogged: 0, nextMs: Math.max(nowMs, this.#mutedUntilMs), delayMs: firstDelayMs };
    this.#reasons.set(key, reason);
    reason.unlogged++;
    if (nowMs < reason.nextMs) return;
    const verb = reason.unlogged > 1
      ? `keeps failing (${reason.unlogged} times since the last message, for ${
        durationText(nowMs - this.#firstFailureMs)
      })`
      : "failed";
    log[level](`${what} ${verb}: ${text}`);
    this.#isAnnounced = true;
    reason.nextMs = nowMs + reason.delayMs;
    reason.delayMs = Math.min(reason.delayMs * 2, maxDelayMs);
    reason.unlogged = 0;
  }

  /** Reports a success, which is logged if a failure was logged before. */
  succeeded(): void {
    if (this.#isAnnounced) this.#logSuccess();
    this.#isAnnounced = false;
    this.#failures = 0;
    this.#reasons.clear();
  }

  #logSuccess(): void {
    const { log, clock, what } = this.#options;
    const nowMs = clock.nowMs();
    const count = this.#failures === 1 ? "1 failure" : `${this.#failures} failures`;
    log.info(`${what} works again after ${count} in ${durationText(nowMs - this.#firstFailureMs)}`);
    this.#mutedUntilMs = nowMs + this.#muteMs;
    this.#muteMs = Math.min(Math.max(FIRST_MUTE_MS, this.#muteMs * 2), MAX_MUTE_MS);
  }
}

interface Reason {
  /** Failures since the last line, the current one included. */
  unlogged: number;
  nextMs: number;
  delayMs: number;
}

const FIRST_MUTE_MS = 10_000;
const MAX_MUTE_MS = 300_000;
const MAX_REASONS = 8;
const OTHER = "";

/** `3 ms`, `12 s`, `5 min 3 s`, `2 h 10 min`. */
export function durationText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
