/**
 * Entries that somebody else keeps changing back. Being put right at once, again and again, would
 * keep both sides busy for ever; after some rounds the repairs wait, longer each time.
 */

import type { ResourceKey } from "../state/resource.ts";
import { backoffMs, type Clock } from "../base/clock.ts";

/** More repairs of one entry than this, each within `WINDOW_MS` of the last, are a fight. */
const REPAIRS = 15;
const WINDOW_MS = 10_000;
const RETRY = { firstMs: 1000, maxMs: 60_000 };

export class RepairLimiter {
  readonly #clock: Clock;
  readonly #histories = new Map<ResourceKey, { repairs: number; lastMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Counts a repair that is about to be made. The answer is how long it must wait, and for which time
   * in a row; `undefined` if it need not. `wait` says whether one for this entry is running or over.
   */
  beforeRepair(
    key: ResourceKey,
    wait: "none" | "running" | "over",
  ): { readonly delayMs: number; readonly round: number } | undefined {
    const now = this.#clock.nowMs();
    let history = this.#histories.get(key);
    const isDamped = wait !== "none" || history !== undefined && history.repairs > REPAIRS;
    const maxQuietMs = WINDOW_MS + (isDamped ? RETRY.maxMs : 0);
    if (history === undefined || now - history.lastMs > maxQuietMs) {
      this.#histories.set(key, history = { repairs: 0, lastMs: now });
    }
    if (wait !== "over") history.repairs++;
    history.lastMs = now;
    const round = history.repairs - REPAIRS;
    if (wait === "over" || round <= 0) return undefined;
    return { delayMs: backoffMs(round, RETRY, this.#clock), round };
  }

  /** Forgets those that have been over for longer than any wait. */
  forgetOld(): void {
    const now = this.#clock.nowMs();
    for (const [key, { lastMs }] of this.#histories) {
      if (now - lastMs > RETRY.maxMs) this.#histories.delete(key);
    }
  }
}
