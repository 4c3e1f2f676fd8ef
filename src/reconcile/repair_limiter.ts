/**
 * Flap damping. Another program may keep modifying an entry, and repairing it at once each time
 * would keep both busy for ever. After some repairs the next ones are delayed, longer each time.
 */

import type { ResourceKey } from "../state/resource.ts";
import { backoffMs, type Clock } from "../base/clock.ts";

/**
 * After this many repairs of one entry, each within `WINDOW_MS` of the last, repairs are delayed.
 */
const MAX_PROMPT_REPAIRS = 15;
const WINDOW_MS = 10_000;
const DELAY = { firstMs: 1000, maxMs: 60_000 };

export interface RepairDelay {
  readonly delayMs: number;
  /** How many delays in a row this makes. */
  readonly round: number;
}

export class RepairLimiter {
  readonly #clock: Clock;
  readonly #histories = new Map<ResourceKey, { repairs: number; lastMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Counts a repair that is about to be made. Returns how long it must be delayed, or `undefined`
   * if it may be made now. `currentDelay` is the state of an earlier delay of this entry.
   */
  beforeRepair(
    key: ResourceKey,
    currentDelay: "none" | "running" | "over",
  ): RepairDelay | undefined {
    const now = this.#clock.nowMs();
    let history = this.#histories.get(key);
    const isDamped = currentDelay !== "none" ||
      history !== undefined && history.repairs > MAX_PROMPT_REPAIRS;
    const maxQuietMs = WINDOW_MS + (isDamped ? DELAY.maxMs : 0);
    if (history === undefined || now - history.lastMs > maxQuietMs) {
      this.#histories.set(key, history = { repairs: 0, lastMs: now });
    }
    if (currentDelay !== "over") history.repairs++;
    history.lastMs = now;
    const round = history.repairs - MAX_PROMPT_REPAIRS;
    if (currentDelay === "over" || round <= 0) return undefined;
    return { delayMs: backoffMs(round, DELAY, this.#clock), round };
  }

  /** Forgets entries that needed no repair for longer than any delay. */
  forgetOld(): void {
    const now = this.#clock.nowMs();
    for (const [key, { lastMs }] of this.#histories) {
      if (now - lastMs > DELAY.maxMs) this.#histories.delete(key);
    }
  }
}
