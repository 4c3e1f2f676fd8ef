/**
 * The datastore's own time, by which leases expire: it passes only while the datastore runs.
 *
 * Nobody can renew a lease while the datastore is down, so that this time must not count; and no
 * jump of the machine's wall clock makes leases expire early. The reading is stored with the leases
 * and once a minute, and goes on from there at the next start.
 */

import type { Clock } from "../../base/clock.ts";

export class LeaseClock {
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #offsetMs: number;

  constructor(clock: Pick<Clock, "nowMs">, storedMs: bigint) {
    this.#clock = clock;
    this.#offsetMs = Number(storedMs) - clock.nowMs();
  }

  nowMs(): number {
    return this.#offsetMs + this.#clock.nowMs();
  }
}
