/**
 * When to work: at once after a quiet time, else a little later, so that changes that follow each
 * other closely are made together; and again when something is due.
 */

import type { Clock } from "../base/clock.ts";

const DEBOUNCE_MS = 5;
const DEBOUNCE_MAX_MS = 50;
/** A change after so much quiet is most likely alone, and does not wait for others. */
const QUIET_MS = 50;

export interface ScheduleOptions {
  readonly clock: Clock;
  /** Whether the work begins with reading the kernel: much dearer than to wait for all reasons to. */
  readonly mustDump: () => boolean;
  /** Begins to work, unless work is under way. */
  readonly start: () => void;
}

export class Schedule implements Disposable {
  readonly #options: ScheduleOptions;
  readonly #clock: Clock;
  #workTimer: Disposable | undefined;
  #laterTimer: Disposable | undefined;
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
    if (wasQuiet && !this.#options.mustDump()) this.#beginAtOnce();
    else this.#arm(DEBOUNCE_MS);
  }

  /** There will be work at this time of the clock, in place of what was said before. */
  setNext(atMs: number): void {
    this.#laterTimer?.[Symbol.dispose]();
    this.#laterTimer = undefined;
    if (atMs === Infinity || this.#isDisposed) return;
    const delayMs = Math.max(atMs - this.#clock.nowMs(), DEBOUNCE_MS);
    this.#laterTimer = this.#clock.setTimer(delayMs, this.#options.start);
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#workTimer?.[Symbol.dispose]();
    this.#laterTimer?.[Symbol.dispose]();
  }

  /** As soon as what is being handled has been. */
  #beginAtOnce(): void {
    this.#isImminent = true;
    void this.#clock.yield().then(() => {
      this.#isImminent = false;
      if (this.#isDisposed) return;
      if (this.#options.mustDump()) this.#arm(DEBOUNCE_MS);
      else this.#options.start();
    });
  }

  #arm(delayMs: number): void {
    this.#workTimer = this.#clock.setTimer(delayMs, () => {
      const now = this.#clock.nowMs();
      const quietAtMs = this.#lastMarkMs + DEBOUNCE_MS;
      if (now < quietAtMs && now < this.#firstMarkMs + DEBOUNCE_MAX_MS) {
        this.#arm(quietAtMs - now);
        return;
      }
      this.#workTimer = undefined;
      this.#options.start();
    });
  }
}
