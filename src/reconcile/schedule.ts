/**
 * When to work: at once after a quiet time, otherwise a little later, so that changes in quick
 * succession go into one batch; and when something becomes due.
 */

import type { Clock } from "../base/clock.ts";

const DEBOUNCE_MS = 5;
const DEBOUNCE_MAX_MS = 50;
/** A change after this much quiet is most likely a single one, and does not wait for others. */
const QUIET_MS = 50;

export interface ScheduleOptions {
  readonly clock: Clock;
  /** The work begins with a dump, which costs much more than waiting for further requests. */
  readonly mustDump: () => boolean;
  /** Begins to work, unless work is in progress. */
  readonly start: () => void;
}

export class Schedule implements Disposable {
  readonly #options: ScheduleOptions;
  readonly #clock: Clock;
  #workTimer: Disposable | undefined;
  #later: { readonly atMs: number; readonly timer: Disposable } | undefined;
  /** The first change after a quiet time is about to be made. */
  #isImminent = false;
  #firstMarkMs = 0;
  #lastMarkMs = -Infinity;
  #isDisposed = false;

  constructor(options: ScheduleOptions) {
    this.#options = options;
    this.#clock = options.clock;
  }

  /** There is work. */
  mark(): void {
    const now = this.#clock.nowMs();
    const wasQuiet = now - this.#lastMarkMs >= QUIET_MS;
    this.#lastMarkMs = now;
    if (this.#workTimer !== undefined || this.#isImminent || this.#isDisposed) return;
    this.#firstMarkMs = now;
    if (wasQuiet && !this.#options.mustDump()) this.#startAtOnce();
    else this.#setTimer(DEBOUNCE_MS);
  }

  /** There will be work at this time of the clock; replaces the previous time. */
  setNext(atMs: number): void {
    if (atMs === this.#later?.atMs) return;
    this.#later?.timer[Symbol.dispose]();
    this.#later = undefined;
    if (atMs === Infinity || this.#isDisposed) return;
    const delayMs = Math.max(atMs - this.#clock.nowMs(), DEBOUNCE_MS);
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#later = undefined;
      this.#options.start();
    });
    this.#later = { atMs, timer };
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#workTimer?.[Symbol.dispose]();
    this.#later?.timer[Symbol.dispose]();
  }

  /** Starts after the events that are being handled. */
  #startAtOnce(): void {
    this.#isImminent = true;
    void this.#clock.yield().then(() => {
      this.#isImminent = false;
      if (this.#isDisposed) return;
      if (this.#options.mustDump()) this.#setTimer(DEBOUNCE_MS);
      else this.#options.start();
    });
  }

  #setTimer(delayMs: number): void {
    this.#workTimer = this.#clock.setTimer(delayMs, () => {
      const now = this.#clock.nowMs();
      const quietAtMs = this.#lastMarkMs + DEBOUNCE_MS;
      if (now < quietAtMs && now < this.#firstMarkMs + DEBOUNCE_MAX_MS) {
        this.#setTimer(quietAtMs - now);
        return;
      }
      this.#workTimer = undefined;
      this.#options.start();
    });
  }
}
