/** Time that stands still until a test moves it. */

import type { Clock } from "../../src/base/clock.ts";

interface Timer {
  readonly atMs: number;
  readonly callback: () => void;
}

export class FakeClock implements Clock {
  #nowMs = 1_000_000;
  readonly #timers = new Set<Timer>();
  /** Replaced where a test needs a certain random number. */
  random: () => number;

  constructor(random: () => number = Math.random) {
    this.random = random;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): Disposable {
    // Whole milliseconds: a fraction can be lost in the sum, and time would stand still.
    const timer = { atMs: this.#nowMs + Math.ceil(delayMs), callback };
    this.#timers.add(timer);
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) };
  }

  yield(): Promise<void> {
    return Promise.resolve();
  }

  /** Lets this much time pass. Timers run at their own moment, and so do those that they set. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (;;) {
      await settle();
      const nextMs = Math.min(...[...this.#timers].map(({ atMs }) => atMs));
      if (nextMs > endMs) break;
      this.#nowMs = Math.max(this.#nowMs, nextMs);
      for (const timer of [...this.#timers]) {
        // A timer of the same moment may have disposed of it.
        if (timer.atMs <= nextMs && this.#timers.delete(timer)) timer.callback();
      }
    }
    this.#nowMs = endMs;
  }
}

/** Lets every promise settle that needs no time to pass. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
