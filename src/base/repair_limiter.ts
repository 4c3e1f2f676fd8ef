/**
 * Flap damping. Another program may keep modifying something of ours, and repairing it at once
 * each time would keep both programs busy for ever. After some repairs the next ones are delayed,
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
  /** From now on. */
  readonly delayMs: number;
  /** How many delayed repairs in a row the next one makes. */
  readonly round: number;
}

/** Counts the repairs of each thing, such as one kernel entry or one family's rules. */
export class RepairLimiter<Key> {
  readonly #clock: Clock;
  readonly #maxDelayMs: number;
  readonly #histories = new Map<Key, RepairHistory>();

  constructor({ clock, maxDelayMs }: RepairLimiterOptions) {
    this.#clock = clock;
    this.#maxDelayMs = maxDelayMs;
  }

  /** How long the next repair has to wait; `undefined` if it may be made now. */
  delayOf(key: Key): RepairDelay | undefined {
    const history = this.#histories.get(key);
    const delayMs = (history?.nextAtMs ?? 0) - this.#clock.nowMs();
    if (history === undefined || delayMs <= 0) return undefined;
    return { delayMs, round: roundOf(history) };
  }

  /** Counts a repair that is made now. Returns how long the next one has to wait, if it does. */
  repaired(key: Key): RepairDelay | undefined {
    const now = this.#clock.nowMs();
    let history = this.#histories.get(key);
    if (history === undefined || now - history.lastMs > this.#maxQuietMs(history)) {
      this.#histories.set(key, history = { repairs: 0, lastMs: now, nextAtMs: now });
    }
    history.repairs++;
    history.lastMs = now;
    const round = roundOf(history);
    if (round <= 0) return undefined;
    const limits = { firstMs: FIRST_DELAY_MS, maxMs: this.#maxDelayMs };
    history.nextAtMs = now + backoffMs(round, limits, this.#clock);
    return this.delayOf(key);
  }

  /** The next repair may be made now, and the count starts over. */
  forget(key: Key): void {
    this.#histories.delete(key);
  }

  /** Forgets what needed no repair for so long that the count would start over. */
  forgetOld(): void {
    const now = this.#clock.nowMs();
    for (const [key, history] of this.#histories) {
      if (now - history.lastMs > this.#maxQuietMs(history)) this.#histories.delete(key);
    }
  }

  /** The longest time between two repairs that count as in a row; a delay is not quiet time. */
  #maxQuietMs(history: RepairHistory): number {
    return WINDOW_MS + (roundOf(history) > 0 ? this.#maxDelayMs : 0);
  }
}

interface RepairHistory {
  /** In a row. */
  repairs: number;
  lastMs: number;
  /** The time of the clock before which there is no other repair. */
  nextAtMs: number;
}

function roundOf({ repairs }: RepairHistory): number {
  return Math.max(0, repairs - MAX_PROMPT_REPAIRS + 1);
}
