/**
 * How often the rules are looked at and put right when others change them without end.
 *
 * Times are monotonic milliseconds, given by the caller.
 */
export class RepairPace {
  #nextLookAtMs = 0;
  #failures = 0;
  #corrections: number[] = [];

  /** How long to wait before the next look. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#nextLookAtMs - nowMs);
  }

  /** Another program has undone our rules more often than chance would. */
  get isFighting(): boolean {
    return this.#corrections.length >= FIGHT_CORRECTIONS;
  }

  /** The next look may be at once: there is something new to do. */
  reset(): void {
    this.#nextLookAtMs = 0;
    this.#failures = 0;
  }

  /** The rules were not as they should be, and are again. */
  corrected(nowMs: number): "fight begins" | undefined {
    const wasFighting = this.isFighting;
    this.#corrections.push(nowMs);
    return this.isFighting && !wasFighting ? "fight begins" : undefined;
  }

  /** A look, with or without a correction, has ended. */
  looked(
    { startedAtMs, endedAtMs, failed }: {
      startedAtMs: number;
      endedAtMs: number;
      failed: boolean;
    },
  ): void {
    this.#corrections = this.#corrections.filter((at) => at > endedAtMs - FIGHT_WINDOW_MS);
    this.#failures = failed ? this.#failures + 1 : 0;
    this.#nextLookAtMs = endedAtMs + this.#gapMs(endedAtMs - startedAtMs);
  }

  #gapMs(lookMs: number): number {
    if (this.#failures > 0) return Math.min(1000 * 2 ** (this.#failures - 1), MAX_RETRY_MS);
    if (this.isFighting) return MAX_GAP_MS;
    return Math.min(Math.max(lookMs * GAP_PER_LOOK, MIN_GAP_MS), MAX_GAP_MS);
  }
}

/** Looking takes a tenth of the time at most: on a node with 20 000 rules it takes 0.2 s. */
const GAP_PER_LOOK = 9;
const MIN_GAP_MS = 100;
const MAX_GAP_MS = 10_000;
/** More corrections than this in a minute are a fight with another program. */
const FIGHT_CORRECTIONS = 20;
const FIGHT_WINDOW_MS = 60_000;
const MAX_RETRY_MS = 30_000;
