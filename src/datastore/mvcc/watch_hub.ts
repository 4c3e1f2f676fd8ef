/**
 * All watches. Each receives every change of its keys from its start revision on, in order and
 * once.
 *
 * A watch that keeps up receives each revision as it is committed. A watch that does not, because
 * its client reads slowly or because it starts in the past, is served from the history when there
 * is room again, so that no queue grows without bound. If that history has been compacted, the
 * watch is cancelled.
 */

import type { Clock } from "../../base/clock.ts";
import { type Change, changedKey, type RevisionEntry } from "./revision_entry.ts";
import { RequestError } from "./request_error.ts";
import type { MvccStore } from "./mvcc_store.ts";
import { type WatchResources, WatchStream } from "./watch_stream.ts";

export interface WatchHubOptions {
  readonly store: MvccStore;
  readonly clock: Clock;
  /** Interval of progress notifications to idle watches that request them. */
  readonly progressNotifyMs: number;
}

/** Limit for all watches together; a network of 1 000 nodes has 2 000. */
const MAX_WATCHES = 20_000;
/**
 * Limit for the events in the queues of all streams; an event in several queues counts several
 * times.
 */
const MAX_HELD_BYTES = 64 << 20;
/** A stream may hold this much even at that limit: clients that keep up are not slowed down. */
const ALWAYS_HELD_BYTES = 16 << 10;
/** Limit for the keys of all watched ranges, which are kept in memory. */
const MAX_RANGE_BYTES = 32 << 20;

export class WatchHub implements WatchResources, Disposable {
  readonly store: MvccStore;
  /** Bytes of the events that wait for their clients, of all streams. */
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

  /** A set of watches that share one stream to their client. Disposing it ends them. */
  open(): WatchStream {
    const stream = new WatchStream(this, () => this.#streams.delete(stream));
    this.#streams.add(stream);
    return stream;
  }

  hasRoom(rangeBytes: number): boolean {
    let count = 0;
    let bytes = rangeBytes;
    for (const stream of this.#streams) {
      count += stream.size;
      bytes += stream.rangeBytes;
    }
    return count < MAX_WATCHES && bytes <= MAX_RANGE_BYTES;
  }

  mayHold(bytes: number, heldBytes: number): boolean {
    return heldBytes + bytes <= ALWAYS_HELD_BYTES || this.heldBytes + bytes <= MAX_HELD_BYTES;
  }

  previous(change: Change): RevisionEntry | undefined {
    if (change.kind === "put" && change.entry.createRevision === change.revision) return undefined;
    const known = this.#previous.get(change);
    if (known !== undefined) return known;
    const entry = this.#entryBefore(change);
    if (entry !== undefined) this.#previous.set(change, entry);
    return entry;
  }

  /** `undefined` for a damaged value, which the store has reported, as for a compacted one. */
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
