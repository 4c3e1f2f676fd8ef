/**
 * Watches: each gets every change of its keys from its start revision on, in order and once.
 *
 * A watch that keeps up is handed each revision as it is made. One that cannot, because its client
 * reads slowly or because it starts in the past, is read out of the history when there is room again,
 * so that no queue grows without bound; if that history has been compacted, the watch is cancelled.
 */

import type { Clock } from "../../base/clock.ts";
import { type Change, changedKey, type RevisionEntry } from "./revision_entry.ts";
import { RequestError } from "./request_error.ts";
import type { MvccStore } from "./mvcc_store.ts";
import { WatchStream } from "./watch_stream.ts";

export interface WatchHubOptions {
  readonly store: MvccStore;
  readonly clock: Clock;
  /** How often quiet watches that ask for it hear how far they are. */
  readonly progressNotifyMs: number;
}

/** A change as one watch reports it. */
export interface WatchEvent {
  readonly change: Change;
  /** The key at the revision before, for watches that ask for it. */
  readonly previous: RevisionEntry | undefined;
}

/** All watches together; a network of 1 000 nodes has 2 000. */
const MAX_WATCHES = 20_000;
/** Of events in the queues of all streams, each counted with its whole size wherever it is. */
const MAX_HELD_BYTES = 64 << 20;
/** What a stream may hold when all together have that much: those that keep up are not slowed. */
const ALWAYS_HELD_BYTES = 16 << 10;
/** Limit for the keys of all watched ranges, which stay in memory. */
const MAX_RANGE_BYTES = 32 << 20;

export class WatchHub implements Disposable {
  readonly store: MvccStore;
  /** Of events that wait for their clients, of all streams. */
  heldBytes = 0;
  readonly #clock: Clock;
  readonly #streams = new Set<WatchStream>();
  readonly #commits: Disposable;
  readonly #previous = new WeakMap<Change, RevisionEntry>();
  readonly #progressNotifyMs: number;
  #progressTimer: Disposable;

  constructor({ store, clock, progressNotifyMs }: WatchHubOptions) {
    this.store = store;
    this.#clock = clock;
    this.#progressNotifyMs = progressNotifyMs;
    this.#commits = store.onCommit((changes) => {
      for (const stream of this.#streams) stream.offer(changes);
    });
    this.#progressTimer = clock.setTimer(progressNotifyMs, () => this.#notifyProgress());
  }

  [Symbol.dispose](): void {
    this.#commits[Symbol.dispose]();
    this.#progressTimer[Symbol.dispose]();
    for (const stream of [...this.#streams]) stream[Symbol.dispose]();
  }

  /** A new set of watches that share one stream to their client; disposing ends them. */
  open(): WatchStream {
    const stream = new WatchStream(this, () => this.#streams.delete(stream));
    this.#streams.add(stream);
    return stream;
  }

  /** Whether there is room for one more watch whose range takes `rangeBytes`. */
  hasRoom(rangeBytes: number): boolean {
    let count = 0;
    let bytes = rangeBytes;
    for (const stream of this.#streams) {
      count += stream.size;
      bytes += stream.rangeBytes;
    }
    return count < MAX_WATCHES && bytes <= MAX_RANGE_BYTES;
  }

  /** Whether a stream that holds so many bytes of events may hold so many more. */
  mayHold(bytes: number, heldBytes: number): boolean {
    return heldBytes + bytes <= ALWAYS_HELD_BYTES || this.heldBytes + bytes <= MAX_HELD_BYTES;
  }

  /** The changed key at the revision before the change. */
  previous(change: Change): RevisionEntry | undefined {
    if (change.kind === "put" && change.entry.createRevision === change.revision) return undefined;
    const known = this.#previous.get(change);
    if (known !== undefined) return known;
    const entry = this.#entryBefore(change);
    if (entry !== undefined) this.#previous.set(change, entry);
    return entry;
  }

  /** `undefined` for a damaged value, as for a compacted one; the store has reported it. */
  #entryBefore(change: Change): RevisionEntry | undefined {
    try {
      return this.store.entryAt(changedKey(change), change.revision - 1n);
    } catch (error) {
      if (error instanceof RequestError && error.reason === "dataLoss") return undefined;
      throw error;
    }
  }

  #notifyProgress(): void {
    for (const stream of this.#streams) stream.notifyProgress();
    this.#progressTimer = this.#clock.setTimer(
      this.#progressNotifyMs,
      () => this.#notifyProgress(),
    );
  }
}
