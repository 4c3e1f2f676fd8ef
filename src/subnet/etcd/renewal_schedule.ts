/** When an etcd lease is renewed. */

import { type Clock, sleep } from "../../base/clock.ts";
import { SUBNET_TTL_SECONDS } from "./unused_lease.ts";

export class RenewalSchedule {
  readonly #clock: Clock;
  readonly #marginMs: number;
  /** On the clock's scale; infinite for a reservation. */
  #expiresMs: number;
  #lifeMs = SUBNET_TTL_SECONDS * 1000;
  /** Ends the pause before the next renewal, because the time of expiry has changed. */
  #changed = new AbortController();

  constructor(options: {
    readonly clock: Clock;
    /** How long before its expiry a lease is renewed. */
    readonly marginMs: number;
    readonly expiresMs: number;
  }) {
    this.#clock = options.clock;
    this.#marginMs = options.marginMs;
    this.#expiresMs = options.expiresMs;
  }

  /** Until the lease expires. */
  get remainingMs(): number {
    return this.#expiresMs - this.#clock.nowMs();
  }

  get isDue(): boolean {
    return this.#renewalMs() <= this.#clock.nowMs();
  }

  /** The lease was renewed. */
  expireIn(ttlSeconds: number): void {
    this.#lifeMs = ttlSeconds * 1000;
    this.#expireAt(this.#clock.nowMs() + this.#lifeMs);
  }

  /** The key is attached to another lease, whose time is not known. */
  renewNow(): void {
    this.#expireAt(this.#clock.nowMs());
  }

  /** The key is no longer attached to a lease. */
  neverExpire(): void {
    this.#expireAt(Infinity);
  }

  /** Resolves when a renewal may be due: check `isDue`. */
  async pause(signal: AbortSignal): Promise<void> {
    this.#changed = new AbortController();
    const either = AbortSignal.any([signal, this.#changed.signal]);
    const pauseMs = this.#renewalMs() - this.#clock.nowMs();
    // A timer's longest delay is 2^31 - 1 ms; a reservation needs none at all.
    await sleep(this.#clock, Math.min(Math.max(pauseMs, 0), 2 ** 31 - 1), either);
  }

  #expireAt(expiresMs: number): void {
    this.#expiresMs = expiresMs;
    this.#changed.abort();
  }

  /** The margin before expiry, or half of a life that is not much longer than the margin. */
  #renewalMs(): number {
    const marginMs = Math.min(this.#marginMs, this.#lifeMs - 60_000);
    return this.#expiresMs - Math.max(marginMs, Math.min(this.#lifeMs / 2, 60_000));
  }
}
