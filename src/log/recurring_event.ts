/** Rate limit for the log lines about one recurring event, such as a repair that is undone each time. */

import type { Log } from "./log.ts";

export interface RecurringEventOptions {
  readonly log: Log;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
}

/**
 * Logs the first five times, then whenever their number has doubled: 10, 20, 40 and so on. After a minute
 * without the event it starts from the beginning.
 */
export class RecurringEvent {
  readonly #options: RecurringEventOptions;
  #times = 0;
  #lastMs = -Infinity;

  constructor(options: RecurringEventOptions) {
    this.#options = options;
  }

  /** Whether it has happened more than a few times recently. */
  get isFrequent(): boolean {
    return this.#times >= AT_ONCE && !this.#isOver();
  }

  /** Counts one more. Returns whether it was logged. */
  occurred(level: "info" | "warn", text: string, fields: Record<string, unknown> = {}): boolean {
    if (this.#isOver()) this.#times = 0;
    this.#lastMs = this.#options.nowMs();
    const times = ++this.#times;
    if (times > AT_ONCE && !Number.isInteger(Math.log2(times / AT_ONCE))) return false;
    const whole = times <= AT_ONCE ? text : `${text} (${times} times by now)`;
    this.#options.log[level](fields, whole);
    return true;
  }

  #isOver(): boolean {
    return this.#options.nowMs() - this.#lastMs >= QUIET_MS;
  }
}

const AT_ONCE = 5;
const QUIET_MS = 60_000;
