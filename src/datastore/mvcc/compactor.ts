/**
 * Automatic compaction: keeps the history of the last 10 000 revisions, and of at most about one
 * hour. Watches need it to resume after an interruption; after a longer one, a client reads all
 * keys again.
 */

import type { Log } from "../../log/log.ts";
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import type { MvccStore } from "./mvcc_store.ts";

export interface CompactorOptions {
  readonly store: MvccStore;
  readonly clock: Clock;
  readonly log: Log;
  /** Called once a minute, so that a crash extends leases by a minute at most. */
  readonly saveClock: () => void;
}

const KEPT_REVISIONS = 10_000n;
/** Further revisions until a compaction runs, because it reads the whole history. */
const SLACK_REVISIONS = 1_000n;
const KEPT_MS = 3_600_000;
const SAMPLE_MS = 60_000;

export class Compactor implements Disposable {
  readonly #options: CompactorOptions;
  readonly #commits: Disposable;
  /** The revision at certain times, oldest first. */
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
      log.debug({ revision: revision.toString() }, "history compacted");
    } catch (error) {
      log.warn(`cannot compact the history: ${errorMessage(error)}`);
    }
  }
}
