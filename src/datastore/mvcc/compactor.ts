/**
 * Automatic compaction: the history of the last 10 000 revisions is kept, and of no more than about
 * one hour. It serves watches that were cut; one that comes back later reads all keys anew.
 */

import type { Log } from "../../log/log.ts";
import type { Clock } from "../../base/clock.ts";
import type { MvccStore } from "./mvcc_store.ts";

export interface CompactorOptions {
  readonly store: MvccStore;
  readonly clock: Clock;
  readonly log: Log;
  /** Called once a minute: what a crash would take from the time that has passed for the leases. */
  readonly saveClock: () => void;
}

const KEPT_REVISIONS = 10_000n;
/** So many more may come together first: compaction goes through all of the history. */
const SLACK_REVISIONS = 1_000n;
const KEPT_MS = 3_600_000;
const SAMPLE_MS = 60_000;

export class Compactor implements Disposable {
  readonly #options: CompactorOptions;
  readonly #commits: Disposable;
  /** Which revision there was at which time, oldest first. */
  readonly #samples: { timeMs: number; revision: bigint }[] = [];
  #timer: Disposable;

  constructor(options: CompactorOptions) {
    this.#options = options;
    this.#commits = options.store.onCommit(() => this.#limitRevisions());
    this.#timer = options.clock.setTimer(0, () => this.#sample());
  }

  [Symbol.dispose](): void {
    this.#commits[Symbol.dispose]();
    this.#timer[Symbol.dispose]();
  }

  #limitRevisions(): void {
    const { store } = this.#options;
    const oldest = store.compactRevision < 0n ? 0n : store.compactRevision;
    if (store.revision - oldest <= KEPT_REVISIONS + SLACK_REVISIONS) return;
    this.#compact(store.revision - KEPT_REVISIONS);
  }

  #sample(): void {
    const { store, clock, saveClock } = this.#options;
    const timeMs = clock.nowMs();
    saveClock();
    this.#samples.push({ timeMs, revision: store.revision });
    let due: bigint | undefined;
    for (let first = this.#samples[0]; first; first = this.#samples[0]) {
      if (timeMs - first.timeMs < KEPT_MS) break;
      due = first.revision;
      this.#samples.shift();
    }
    if (due !== undefined) this.#compact(due);
    this.#timer = clock.setTimer(SAMPLE_MS, () => this.#sample());
  }

  #compact(revision: bigint): void {
    const { store, log } = this.#options;
    if (revision <= store.compactRevision || revision <= 1n) return;
    try {
      void store.compact(revision);
      log.debug({ revision: revision.toString() }, "the history was compacted");
    } catch (error) {
      log.warn(`cannot compact the history: ${(error as Error).message}`);
    }
  }
}
