/**
 * Rate limit for one event that may recur without end, such as a repair that is undone each time.
 *
 * It counts and needs no timer. `RepeatedFailure` is for an operation that works again at some
 * time, `RateLimitedWarnings` for many similar objects.
 */

import type { Clock } from "../base/clock.ts";
import type { Log } from "./log.ts";

export interface RecurringEventOptions {
  readonly log: Log;
  readonly clock: Pick<Clock, "nowMs">;
}

/**
 * Logs the first five occurrences, then each time their number has doubled: 10, 20, 40 and so on.
 * After a minute without the event, it starts over.
 */
export class RecurringEvent {
  readonly #options: RecurringEventOptions;
  #count = 0;
  #lastMs = -Infinity;

  constructor(options: RecurringEventOptions) {
    this.#options = options;
  }

  /** Whether it has occurred at least five times without a quiet minute. */
  get isFrequent(): boolean {
    return this.#count >= MAX_AT_ONCE && !this.#isOver();
  }

  /** Counts an occurrence. Returns whether it was logged. */
  occurred(level: "info" | "warn", text: string, fields: Record<string, unknown> = {}): boolean {
    if (this.#isOver()) this.#count = 0;
    this.#lastMs = this.#options.clock.nowMs();
    const count = ++this.#count;
    if (count > MAX_AT_ONCE && !Number.isInteger(Math.log2(count / MAX_AT_ONCE))) return false;
    const whole = count <= MAX_AT_ONCE ? text : `${text} (${count} times so far)`;
    this.#options.log[level](fields, whole);
    return true;
  }

  #isOver(): boolean {
    return this.#options.clock.nowMs() - this.#lastMs >= QUIET_MS;
  }
}

const MAX_AT_ONCE = 5;
const QUIET_MS = 60_000;
