/**
 * The clock of the leases, which runs only while the datastore does.
 *
 * No client can keep a lease alive while the datastore is down, so that this time does not count.
 * Nor does a jump of the machine's wall clock expire leases early. The time is stored with each
 * change of a lease and once a minute, and continues from there at the next start.
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
