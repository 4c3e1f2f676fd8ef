/** Limits how often a client address may try a wrong password. */

import type { Clock } from "../../base/clock.ts";

/** In a burst, and per second from then on. */
const ATTEMPTS = { burst: 10, perSecond: 1 };
const MAX_ADDRESSES = 4_096;

interface Attempts {
  left: number;
  atMs: number;
}

export class FailedAttempts {
  readonly #clock: Pick<Clock, "nowMs">;
  /** The address that failed last is the last one. */
  readonly #byAddress = new Map<string, Attempts>();

  constructor(clock: Pick<Clock, "nowMs">) {
    this.#clock = clock;
  }

  /** Whether this address has to wait before it tries again. */
  isExhausted(address: string): boolean {
    return this.#leftOf(address) < 1;
  }

  add(address: string): void {
    const left = this.#leftOf(address) - 1;
    this.#byAddress.delete(address);
    this.#byAddress.set(address, { left, atMs: this.#clock.nowMs() });
    const [oldest] = this.#byAddress.keys();
    if (this.#byAddress.size > MAX_ADDRESSES && oldest !== undefined) {
      this.#byAddress.delete(oldest);
    }
  }

  #leftOf(address: string): number {
    const known = this.#byAddress.get(address);
    if (known === undefined) return ATTEMPTS.burst;
    const seconds = (this.#clock.nowMs() - known.atMs) / 1_000;
    return Math.min(ATTEMPTS.burst, known.left + seconds * ATTEMPTS.perSecond);
  }
}
