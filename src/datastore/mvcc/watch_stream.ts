/** The watches of one client stream: which messages the client receives, and in which order. */

import { type Change, changedKey, type RevisionEntry } from "./revision_entry.ts";
import { compareKeys, containsKey, type KeyInterval } from "./key_interval.ts";
import { RequestError } from "./request_error.ts";
import type { MvccStore } from "./mvcc_store.ts";
import { sizeOf, type WatchEvent, type WatchOutput } from "./watch_event.ts";
import { type WatchMemory, WatchQueue } from "./watch_queue.ts";

export interface WatchOptions {
  readonly range: KeyInterval;
  /** 0n: from now on. May be a future revision. */
  readonly startRevision: bigint;
  /** 0n: one is chosen. */
  readonly id: bigint;
  readonly previous: boolean;
  readonly progress: boolean;
  readonly without: ReadonlySet<Change["kind"]>;
}

/** What the streams of all clients share. */
export interface WatchResources extends WatchMemory {
  readonly store: MvccStore;
  /** Whether there is room for one more watch whose range has `rangeBytes`. */
  hasRoom(rangeBytes: number): boolean;
  /** The changed key at the revision before the change. */
  previous(change: Change): RevisionEntry | undefined;
}

interface Watch {
  readonly id: bigint;
  readonly request: WatchOptions;
  /** The first revision that has been neither queued nor skipped. */
  next: bigint;
  /** Something was queued since the last progress notification. */
  isActive: boolean;
}

/** Limit for the unread responses to requests of the client. */
const MAX_QUEUED_OUTPUTS = 2_000;
/** Bytes that are read from the history, and reported, at a time. */
export const HISTORY_PAGE_BYTES = 1 << 20;
const PAGE = { changes: 500, bytes: HISTORY_PAGE_BYTES };

/**
 * Limit for the previous values reported for one revision, such as a deletion of all keys. Further
 * ones are omitted, as etcd omits compacted ones.
 */
const MAX_PREVIOUS_BYTES = 32 << 20;

/** mvcc's texts, from etcd's server/storage/mvcc/watcher.go. */
const EMPTY_RANGE = "mvcc: watcher range is empty";
const DUPLICATE_ID = "mvcc: duplicate watch ID provided on the WatchStream";
const TOO_MANY = new RequestError("tooManyRequests").message;

export class WatchStream implements Disposable {
  readonly #resources: WatchResources;
  readonly #queue: WatchQueue;
  readonly #onClose: () => void;
  readonly #watches = new Map<bigint, Watch>();
  /** Watches whose next revision has to be read from the history. */
  readonly #lagging = new Set<Watch>();
  #nextId = 0n;
  #rangeBytes = 0;
  #progressRequests = 0;
  #isClosed = false;
  #wake: (() => void) | undefined;
  #makeRoom: (() => void) | undefined;

  constructor(resources: WatchResources, onClose: () => void) {
    this.#resources = resources;
    this.#queue = new WatchQueue(resources);
    this.#onClose = onClose;
  }

  get size(): number {
    return this.#watches.size;
  }

  /** Bytes of the ranges of all watches of the stream. */
  get rangeBytes(): number {
    return this.#rangeBytes;
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#watches.clear();
    this.#rangeBytes = 0;
    this.#lagging.clear();
    this.#queue.close();
    this.#onClose();
    this.#wake?.();
    this.#makeRoom?.();
  }

  /** Resolves when the client has read enough of the responses to send further requests. */
  async room(): Promise<void> {
    while (this.#queue.length >= MAX_QUEUED_OUTPUTS && !this.#isClosed) {
      await new Promise<void>((resolve) => this.#makeRoom = resolve);
    }
  }

  create(request: WatchOptions): void {
    const { revision } = this.#resources.store;
    const reason = this.#refusal(request);
    if (reason !== undefined) return this.#push({ kind: "refused", reason, revision });
    const id = request.id === 0n ? this.#freeId() : request.id;
    const next = request.startRevision <= 0n ? revision + 1n : request.startRevision;
    const watch = { id, request, next, isActive: false };
    this.#watches.set(id, watch);
    this.#rangeBytes += bytesOf(request.range);
    if (next <= revision) this.#lagging.add(watch);
    this.#push({ kind: "created", id, revision });
  }

  /** Ends a watch. Ignores an unknown ID, which may just have been cancelled. */
  cancel(id: bigint): void {
    const watch = this.#watches.get(id);
    if (watch === undefined) return;
    this.#remove(watch);
    this.#push({ kind: "cancelled", id, revision: this.#resources.store.revision });
  }

  /** The response follows as soon as all changes up to now have been reported. */
  requestProgress(): void {
    this.#progressRequests++;
    this.#wake?.();
  }

  /** Sends a progress notification for each idle watch that requests them. */
  notifyProgress(): void {
    // A client that does not read its events would not read this either.
    if (this.#queue.length > 0) return;
    const { revision } = this.#resources.store;
    for (const watch of this.#watches.values()) {
      if (watch.request.progress && !watch.isActive && !this.#lagging.has(watch)) {
        this.#push({ kind: "progress", id: watch.id, revision });
      }
      watch.isActive = false;
    }
  }

  /** Passes the changes of the newest revision to the watches that are up to date. */
  offer(changes: readonly Change[]): void {
    const revision = changes[0]?.revision ?? 0n;
    for (const watch of this.#watches.values()) {
      if (watch.next !== revision || this.#lagging.has(watch)) continue;
      const events = this.#eventsFor(watch, changes);
      if (events.length === 0) {
        watch.next = revision + 1n;
      } else if (!this.#queue.hasRoomFor(events)) {
        this.#lagging.add(watch);
        this.#wake?.(); // the queue of this stream may be empty
      } else {
        watch.next = revision + 1n;
        watch.isActive = true;
        this.#queue.pushEvents(watch.id, revision, events);
        this.#wake?.();
      }
    }
  }

  /** Waits for the next message; `undefined` at the end of the stream. */
  async next(): Promise<WatchOutput | undefined> {
    while (!this.#isClosed) {
      const output = this.take();
      if (output !== undefined) return output;
      await this.change();
    }
    return undefined;
  }

  /** Resolves when `take` may return a message, and at the end of the stream. */
  async change(): Promise<void> {
    if (this.#isClosed) return;
    await new Promise<void>((resolve) => this.#wake = resolve);
    this.#wake = undefined;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether the next message has to be read from the history, with up to `HISTORY_PAGE_BYTES`. */
  get isBehind(): boolean {
    return this.#queue.length === 0 && this.#lagging.size > 0;
  }

  /** The next message, if there is one now. */
  take(): WatchOutput | undefined {
    const output = this.#queue.take();
    if (output !== undefined) {
      this.#makeRoom?.();
      return output;
    }
    for (const watch of this.#lagging) {
      const past = this.#readHistory(watch);
      if (past !== undefined) return past;
    }
    if (this.#progressRequests === 0) return undefined;
    this.#progressRequests--;
    return { kind: "progress", id: -1n, revision: this.#resources.store.revision };
  }

  /** The next page of a lagging watch; `undefined` if it is up to date. */
  #readHistory(watch: Watch): WatchOutput | undefined {
    const { store } = this.#resources;
    for (;;) {
      if (watch.next < store.compactRevision) {
        this.#remove(watch);
        return { kind: "compacted", id: watch.id, compactRevision: store.compactRevision };
      }
      const page = this.#page(watch);
      if (page === undefined) {
        this.#remove(watch);
        return { kind: "compacted", id: watch.id, compactRevision: store.revision + 1n };
      }
      const { events, rest } = this.#eventsOfPage(watch, page.changes);
      const next = rest ?? page.next;
      watch.next = next ?? store.revision + 1n;
      if (next === undefined) this.#lagging.delete(watch);
      if (events.length > 0) {
        watch.isActive = true;
        return { kind: "events", id: watch.id, revision: watch.next - 1n, events };
      }
      if (next === undefined) return undefined;
    }
  }

  /** `undefined` if it is damaged: the client has to read all keys again, as after a compaction. */
  #page({ request, next }: Watch): ReturnType<MvccStore["changesFrom"]> | undefined {
    try {
      return this.#resources.store.changesFrom(request.range, next, PAGE);
    } catch (error) {
      if (error instanceof RequestError && error.reason === "dataLoss") return undefined;
      throw error;
    }
  }

  /** Previous values may make a page too large; `rest` is the first revision that does not fit. */
  #eventsOfPage(
    watch: Watch,
    changes: readonly Change[],
  ): { events: readonly WatchEvent[]; rest: bigint | undefined } {
    const events: WatchEvent[] = [];
    let bytes = 0;
    for (const change of changes) {
      const isWhole = events.at(-1)?.change.revision !== change.revision;
      if (bytes >= PAGE.bytes && isWhole) return { events, rest: change.revision };
      for (const event of this.#eventsFor(watch, [change], bytes)) {
        events.push(event);
        bytes += sizeOf(event);
      }
    }
    return { events, rest: undefined };
  }

  /** `bytes`: of other events in the same message. */
  #eventsFor({ request }: Watch, changes: readonly Change[], bytes = 0): WatchEvent[] {
    const { range, without } = request;
    let previousBytes = bytes;
    return changes.flatMap((change) => {
      if (without.has(change.kind) || !containsKey(range, changedKey(change))) return [];
      const isWanted = request.previous && previousBytes < MAX_PREVIOUS_BYTES;
      const previous = isWanted ? this.#resources.previous(change) : undefined;
      previousBytes += previous?.value.length ?? 0;
      return [{ change, previous }];
    });
  }

  #push(output: WatchOutput): void {
    this.#queue.push(output);
    this.#wake?.();
  }

  #remove(watch: Watch): void {
    this.#watches.delete(watch.id);
    this.#rangeBytes -= bytesOf(watch.request.range);
    this.#lagging.delete(watch);
  }

  #refusal({ range, id }: WatchOptions): string | undefined {
    if (range.end !== undefined && compareKeys(range.start, range.end) >= 0) return EMPTY_RANGE;
    if (id !== 0n && this.#watches.has(id)) return DUPLICATE_ID;
    return this.#resources.hasRoom(bytesOf(range)) ? undefined : TOO_MANY;
  }

  #freeId(): bigint {
    while (this.#watches.has(this.#nextId)) this.#nextId++;
    return this.#nextId++;
  }
}

function bytesOf({ start, end }: KeyInterval): number {
  return start.length + (end?.length ?? 0);
}
