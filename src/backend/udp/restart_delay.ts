/** Delays between restarts: longer after each failure, until a run has lasted for a while. */

import { backoffMs, type Clock } from "../../base/clock.ts";

const LIMITS = { firstMs: 1000, maxMs: 60_000 };
const STEADY_MS = 60_000;

export class RestartDelay implements Disposable {
  readonly #clock: Clock;
  #timer: Disposable | undefined;
  #startMs = 0;
  /** Short runs in a row. */
  #failures = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  started(): void {
    this.#startMs = this.#clock.nowMs();
  }

  /** The run that `started` has ended; calls back when it is time for the next one. */
  schedule(restart: () => void): void {
    if (this.#clock.nowMs() - this.#startMs > STEADY_MS) this.#failures = 0;
    const delayMs = backoffMs(++this.#failures, LIMITS, this.#clock);
    this.#timer = this.#clock.setTimer(delayMs, restart);
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
  }
}
