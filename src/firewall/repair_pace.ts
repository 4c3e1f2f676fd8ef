/**
 * When the rules may be checked again. Limits what checks cost on a host with many rules, retries
 * failures with a backoff, and damps repairs while another program keeps modifying the rules (flap
 * damping).
 */

import type { Clock } from "../base/clock.ts";

export class RepairPace {
  readonly #clock: Pick<Clock, "nowMs">;
  #nextCheckAtMs = 0;
  #failures = 0;
  #repairsAtMs: number[] = [];

  constructor(clock: Pick<Clock, "nowMs">) {
    this.#clock = clock;
  }

  /** The delay before the next check. */
  delayMs(): number {
    return Math.max(0, this.#nextCheckAtMs - this.#clock.nowMs());
  }

  /** Another program keeps modifying our rules: the next repair is delayed by `DAMPED_DELAY_MS`. */
  get isDamped(): boolean {
    return this.#repairsAtMs.length >= MAX_REPAIRS;
  }

  /** The next check may start at once because the desired rules have changed. */
  reset(): void {
    this.#nextCheckAtMs = 0;
    this.#failures = 0;
  }

  /** Counts a repair. Returns whether it is the one with which damping starts. */
  repaired(): { readonly startsDamping: boolean } {
    const wasDamped = this.isDamped;
    this.#repairsAtMs.push(this.#clock.nowMs());
    return { startsDamping: this.isDamped && !wasDamped };
  }

  /** A check has ended, whether it repaired something or not. */
  checked({ startedAtMs, hasFailed }: { startedAtMs: number; hasFailed: boolean }): void {
    const nowMs = this.#clock.nowMs();
    this.#repairsAtMs = this.#repairsAtMs.filter((atMs) => atMs > nowMs - DAMPING_WINDOW_MS);
    this.#failures = hasFailed ? this.#failures + 1 : 0;
    this.#nextCheckAtMs = nowMs + this.#delayAfterMs(nowMs - startedAtMs);
  }

  #delayAfterMs(checkMs: number): number {
    if (this.#failures > 0) return Math.min(1000 * 2 ** (this.#failures - 1), MAX_RETRY_DELAY_MS);
    if (this.isDamped) return DAMPED_DELAY_MS;
    return Math.min(Math.max(checkMs * DELAY_PER_CHECK, MIN_DELAY_MS), DAMPED_DELAY_MS);
  }
}

/** Checks take a tenth of the time at most: on a node with 20 000 rules, one takes 0.2 s. */
const DELAY_PER_CHECK = 9;
const MIN_DELAY_MS = 100;
/** The delay while repairs are damped, and the longest one after a slow check. */
export const DAMPED_DELAY_MS = 10_000;
/** With this many repairs in the window, another program keeps modifying the rules. */
const MAX_REPAIRS = 20;
const DAMPING_WINDOW_MS = 60_000;
const MAX_RETRY_DELAY_MS = 30_000;
