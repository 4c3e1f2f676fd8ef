/** Polls tables whose changes the kernel does not announce. */

import type { Clock } from "../../base/clock.ts";

export class Poller {
  readonly #clock: Clock;
  readonly #poll: () => Promise<number>;
  #timer: Disposable | undefined;

  /** `poll` may not reject; it returns the delay until the next poll. */
  constructor(clock: Clock, poll: () => Promise<number>) {
    this.#clock = clock;
    this.#poll = poll;
  }

  /** Polls after this delay, unless polling has been started already. */
  start(delayMs: number): void {
    if (this.#timer === undefined) this.#pollAfter(delayMs);
  }

  stop(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }

  #pollAfter(delayMs: number): void {
    const timer = this.#clock.setTimer(delayMs, () => {
      void this.#poll().then((nextMs) => {
        // It may have been stopped, and started again, during the poll.
        if (this.#timer === timer) this.#pollAfter(nextMs);
      });
    });
    this.#timer = timer;
  }
}
