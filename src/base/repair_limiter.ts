/**
 * Flap damping. Another program may keep modifying something of ours, and repairing it at once
 * each time would keep both programs busy forever. After some repairs the next ones are delayed,
 * longer each time.
 */

import { backoffMs, type Clock } from "./clock.ts";

/**
 * After this many repairs of one thing, each within `WINDOW_MS` of the last, repairs are delayed.
 */
const MAX_PROMPT_REPAIRS = 15;
const WINDOW_MS = 10_000;
const FIRST_DELAY_MS = 1000;

export interface RepairLimiterOptions {
  readonly clock: Clock;
  /** The longest delay between two repairs. */
  readonly maxDelayMs: number;
}

/** Why a repair must wait. */
export interface RepairDelay {
  /** From now. */
  readonly delayMs: number;
  /** How many delayed repairs in a row the next one makes. */
  readonly round: number;
}

/** Counts the repairs of each thing, such as one kernel entry or one family's rules. */
export class RepairLimiter<Key> {
  readonly #clock: Clock;
  readonly #maxDelayMs: number;
  readonly #series = new Map<Key, RepairSeries>();

  constructor({ clock, maxDelayMs }: RepairLimiterOptions) {
    this.#clock = clock;
    this.#maxDelayMs = maxDelayMs;
  }

  /** How long the next repair has to wait; `undefined` if it may be made now. */
  delayOf(key: Key): RepairDelay | undefined {
    const series = this.#series.get(key);
    const delayMs = (series?.nextAtMs ?? 0) - this.#clock.nowMs();
    if (series === undefined || delayMs <= 0) return undefined;
    return { delayMs, round: roundOf(series) };
  }

  /** Counts a repair that is made now. Returns how long the next one has to wait, if it does. */
  repaired(key: Key): RepairDelay | undefined {
    const now = this.#clock.nowMs();
    let series = this.#series.get(key);
    if (series === undefined || now - series.lastMs > this.#maxQuietMs(series)) {
      this.#series.set(key, series = { repairs: 0, lastMs: now, nextAtMs: now });
    }
    series.repairs++;
    series.lastMs = now;
    const round = roundOf(series);
    if (round <= 0) return undefined;
    const limits = { firstMs: FIRST_DELAY_MS, maxMs: this.#maxDelayMs };
    series.nextAtMs = now + backoffMs(round, limits, this.#clock);
    return this.delayOf(key);
  }

  /** The next repair may be made now, and the count starts over. */
  forget(key: Key): void {
    this.#series.delete(key);
  }

  /** Forgets what needed no repair for so long that the count would start over. */
  forgetOld(): void {
    const now = this.#clock.nowMs();
    for (const [key, series] of this.#series) {
      if (now - series.lastMs > this.#maxQuietMs(series)) this.#series.delete(key);
    }
  }

  /** The longest time between two repairs that count as in a row; a delay is not quiet time. */
  #maxQuietMs(series: RepairSeries): number {
    return WINDOW_MS + (roundOf(series) > 0 ? this.#maxDelayMs : 0);
  }
}

/** Repairs of one thing, each soon after the last. */
interface RepairSeries {
  repairs: number;
  lastMs: number;
  /** The time of the clock before which there is no other repair. */
  nextAtMs: number;
}

function roundOf({ repairs }: RepairSeries): number {
  return Math.max(0, repairs - MAX_PROMPT_REPAIRS + 1);
}
