/** When to check charon's connections, and the tunnels. */

import type { Clock } from "../../base/clock.ts";

export class CheckSchedule {
  readonly #clock: Clock;
  #connectionsMs = -Infinity;
  #tunnelsMs = -Infinity;
  /** From when on the next check of tunnels includes all of them. */
  #allTunnelsMs = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** For a new charon: everything is due. */
  reset(): void {
    this.#connectionsMs = -Infinity;
    this.allTunnelsNow();
  }

  get areConnectionsDue(): boolean {
    return this.#clock.nowMs() >= this.#connectionsMs;
  }

  get areTunnelsDue(): boolean {
    return this.#clock.nowMs() >= this.#tunnelsMs;
  }

  get areAllTunnelsDue(): boolean {
    return this.#clock.nowMs() >= this.#allTunnelsMs;
  }

  get delayMs(): number {
    return Math.min(this.#tunnelsMs, this.#connectionsMs) - this.#clock.nowMs();
  }

  /** After a check of the connections; `isLarge` if their number makes it expensive. */
  connectionsChecked({ isLarge }: { readonly isLarge: boolean }): void {
    this.#connectionsMs = this.#clock.nowMs() + (isLarge ? LARGE_CHECK_MS : CHECK_MS);
  }

  /** At the start of a check of tunnels, because one may come up or go down during it. */
  tunnelCheckStarted({ isFull }: { readonly isFull: boolean }): void {
    this.#tunnelsMs = this.#clock.nowMs() + CHECK_MS;
    if (isFull) this.#allTunnelsMs = this.#clock.nowMs() + FULL_CHECK_MS;
  }

  /** Soon, so that changes that belong together are complete. */
  tunnelsSoon(): void {
    this.#tunnelsMs = Math.min(this.#tunnelsMs, this.#clock.nowMs() + SOON_MS);
  }

  allTunnelsSoon(): void {
    this.#allTunnelsMs = -Infinity;
    this.tunnelsSoon();
  }

  allTunnelsNow(): void {
    this.#allTunnelsMs = this.#tunnelsMs = -Infinity;
  }
}

/** For the connections that charon has, and the tunnels that are not known to be up. */
const CHECK_MS = 5000;
/** For the connections of a large network: a check takes a third of a second with 10 000 peers. */
const LARGE_CHECK_MS = 60_000;
/** For all tunnels: charon reports by itself when one comes up or goes down. */
const FULL_CHECK_MS = 300_000;
/** After a report, or if a tunnel seems to be down. */
const SOON_MS = 1000;
