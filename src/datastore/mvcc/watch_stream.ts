/** The watches of one client stream, and the queue of what it is to be told. */

import { type Change, changedKey } from "./revision_entry.ts";
import { compareKeys, containsKey, type KeyRange } from "./key_range.ts";
import { RequestError } from "./request_error.ts";
import type { MvccStore } from "./mvcc_store.ts";
import type { WatchEvent, WatchHub } from "./watch_hub.ts";

export interface WatchCreateRequest {
  readonly range: KeyRange;
  /** 0n: from now on. A revision still to come is waited for. */
  readonly startRevision: bigint;
  /** 0n: one is chosen. */
  readonly id: bigint;
  readonly previous: boolean;
  readonly progress: boolean;
  readonly without: ReadonlySet<Change["kind"]>;
}

/** What the client is told. All changes up to `revision` have been told when it arrives. */
export type WatchOutput =
  | { readonly kind: "created"; readonly id: bigint; readonly revision: bigint }
  | { readonly kind: "refused"; readonly reason: string; readonly revision: bigint }
  | {
    readonly kind: "events";
    readonly id: bigint;
    readonly revision: bigint;
    readonly events: readonly WatchEvent[];
  }
  /** `id` is -1n for the answer to a request, which concerns every watch of the stream. */
  | { readonly kind: "progress"; readonly id: bigint; readonly revision: bigint }
  | { readonly kind: "cancelled"; readonly id: bigint; readonly revision: bigint }
  /** The first revision that can still be had is `compactRevision`. */
  | { readonly kind: "compacted"; readonly id: bigint; readonly compactRevision: bigint };

interface Watch {
  readonly id: bigint;
  readonly request: WatchCreateRequest;
  /** The first revision that has been neither queued nor passed over. */
  next: bigint;
  /** Something was queued since the last progress notification. */
  isActive: boolean;
}

/** A client that has not read so many events is served from the history from then on. */
const MAX_QUEUED_EVENTS = 1_000;
const MAX_QUEUED_BYTES = 4 << 20;
/** Nor do answers to what it asks for gather without bound. */
const MAX_QUEUED_OUTPUTS = 2_000;
/** What is read from the history, and told, at a time. */
export const HISTORY_PAGE_BYTES = 1 << 20;
const PAGE = { changes: 500, bytes: HISTORY_PAGE_BYTES };

/**
 * Limit for the previous values reported for one revision, such as a deletion of all keys. Further ones
 * are left out, as etcd leaves out compacted ones.
 */
const MAX_PREVIOUS_BYTES = 32 << 20;

/** mvcc's texts, from etcd's server/storage/mvcc/watcher.go. */
const EMPTY_RANGE = "mvcc: watcher range is empty";
const DUPLICATE_ID = "mvcc: duplicate watch ID provided on the WatchStream";
const TOO_MANY = "etcdserver: too many requests";

export class WatchStream implements Disposable {
  readonly #hub: WatchHub;
  readonly #onClose: () => void;
  readonly #watches = new Map<bigint, Watch>();
  /** Those whose next revision has to come from the history. */
  readonly #lagging = new Set<Watch>();
  #queue: WatchOutput[] = [];
  #queuedEvents = 0;
  #queuedBytes = 0;
  /** With what was taken last, which is on its way to the client. */
  #heldBytes = 0;
  #takenBytes = 0;
  #nextId = 0n;
  #rangeBytes = 0;
  #progressRequests = 0;
  #isClosed = false;
  #wake: (() => void) | undefined;
  #makeRoom: (() => void) | undefined;

  constructor(hub: WatchHub, onClose: () => void) {
    this.#hub = hub;
    this.#onClose = onClose;
  }

  get size(): number {
    return this.#watches.size;
  }

  /** Bytes of the ranges of all its watches. */
  get rangeBytes(): number {
    return this.#rangeBytes;
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#watches.clear();
    this.#rangeBytes = 0;
    this.#lagging.clear();
    this.#hold(-this.#heldBytes);
    this.#takenBytes = 0;
    this.#onClose();
    this.#wake?.();
    this.#makeRoom?.();
  }

  /** Resolves when the client has read so much that it may ask for more. */
  async room(): Promise<void> {
    while (this.#queue.length >= MAX_QUEUED_OUTPUTS && !this.#isClosed) {
      await new Promise<void>((resolve) => this.#makeRoom = resolve);
    }
  }

  create(request: WatchCreateRequest): void {
    const { revision } = this.#hub.store;
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

  /** Ends a watch; an unknown id is passed over, as it may just have been cancelled. */
  cancel(id: bigint): void {
    const watch = this.#watches.get(id);
    if (watch === undefined) return;
    this.#remove(watch);
    this.#push({ kind: "cancelled", id, revision: this.#hub.store.revision });
  }

  /** Answered as soon as everything up to the present has been told. */
  requestProgress(): void {
    this.#progressRequests++;
    this.#wake?.();
  }

  /** Tells the watches that want it how far they are, if they have heard nothing since the last time. */
  notifyProgress(): void {
    // Whoever does not read what there is will not read this either.
    if (this.#queue.length > 0) return;
    const { revision } = this.#hub.store;
    for (const watch of this.#watches.values()) {
      if (watch.request.progress && !watch.isActive && !this.#lagging.has(watch)) {
        this.#push({ kind: "progress", id: watch.id, revision });
      }
      watch.isActive = false;
    }
  }

  /** Hands the changes of the newest revision to the watches that are up to date. */
  offer(changes: readonly Change[]): void {
    const revision = changes[0]?.revision ?? 0n;
    for (const watch of this.#watches.values()) {
      if (watch.next !== revision || this.#lagging.has(watch)) continue;
      const events = this.#eventsFor(watch, changes);
      if (events.length === 0) {
        watch.next = revision + 1n;
      } else if (!this.#mayQueue(events)) {
        this.#lagging.add(watch);
        this.#wake?.(); // its own queue may be empty
      } else {
        watch.next = revision + 1n;
        this.#pushEvents(watch, revision, events);
      }
    }
  }

  /** What is to be told next, as soon as there is something; `undefined` at the end of the stream. */
  async next(): Promise<WatchOutput | undefined> {
    while (!this.#isClosed) {
      const output = this.take();
      if (output !== undefined) return output;
      await this.change();
    }
    return undefined;
  }

  /** Resolves when there may be something for `take`, and at the end of the stream. */
  async change(): Promise<void> {
    if (this.#isClosed) return;
    await new Promise<void>((resolve) => this.#wake = resolve);
    this.#wake = undefined;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether the next output has to be read from the history, up to `HISTORY_PAGE_BYTES` of it. */
  get isBehind(): boolean {
    return this.#queue.length === 0 && this.#lagging.size > 0;
  }

  /** The next output, if there is one now. */
  take(): WatchOutput | undefined {
    this.#hold(-this.#takenBytes);
    this.#takenBytes = 0;
    const output = this.#queue.shift();
    if (output !== undefined) {
      if (output.kind === "events") this.#takenBytes = sizeOfAll(output.events);
      this.#makeRoom?.();
      if (this.#queue.length === 0) [this.#queuedEvents, this.#queuedBytes] = [0, 0];
      return output;
    }
    for (const watch of this.#lagging) {
      const past = this.#readHistory(watch);
      if (past !== undefined) return past;
    }
    if (this.#progressRequests === 0) return undefined;
    this.#progressRequests--;
    return { kind: "progress", id: -1n, revision: this.#hub.store.revision };
  }

  /** The next page of a watch that lags; `undefined` when it is up to date. */
  #readHistory(watch: Watch): WatchOutput | undefined {
    const { store } = this.#hub;
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

  /** `undefined` if damaged: the client has to read all keys again, as after a compaction. */
  #page({ request, next }: Watch): ReturnType<MvccStore["changesFrom"]> | undefined {
    try {
      return this.#hub.store.changesFrom(request.range, next, PAGE);
    } catch (error) {
      if (error instanceof RequestError && error.reason === "dataLoss") return undefined;
      throw error;
    }
  }

  /** With the previous values a page may become too large: `rest` is the first revision left out. */
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

  /** `bytes` of other events are reported together with these. */
  #eventsFor({ request }: Watch, changes: readonly Change[], bytes = 0): WatchEvent[] {
    const { range, without } = request;
    let previousBytes = bytes;
    return changes.flatMap((change) => {
      if (without.has(change.kind) || !containsKey(range, changedKey(change))) return [];
      const isWanted = request.previous && previousBytes < MAX_PREVIOUS_BYTES;
      const previous = isWanted ? this.#hub.previous(change) : undefined;
      previousBytes += previous?.value.length ?? 0;
      return [{ change, previous }];
    });
  }

  /** A burst makes one message, not many. */
  #pushEvents(watch: Watch, revision: bigint, events: readonly WatchEvent[]): void {
    watch.isActive = true;
    this.#queuedEvents += events.length;
    const bytes = sizeOfAll(events);
    this.#queuedBytes += bytes;
    this.#hold(bytes);
    const last = this.#queue.at(-1);
    if (last?.kind === "events" && last.id === watch.id) {
      const merged = { ...last, revision, events: [...last.events, ...events] };
      this.#queue[this.#queue.length - 1] = merged;
    } else {
      this.#push({ kind: "events", id: watch.id, revision, events });
    }
  }

  #mayQueue(events: readonly WatchEvent[]): boolean {
    return this.#queuedEvents < MAX_QUEUED_EVENTS && this.#queuedBytes < MAX_QUEUED_BYTES &&
      this.#hub.mayHold(sizeOfAll(events), this.#heldBytes);
  }

  #hold(bytes: number): void {
    if (this.#isClosed && bytes > 0) return;
    this.#heldBytes += bytes;
    this.#hub.heldBytes += bytes;
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

  #refusal({ range, id }: WatchCreateRequest): string | undefined {
    if (range.end !== undefined && compareKeys(range.start, range.end) >= 0) return EMPTY_RANGE;
    if (id !== 0n && this.#watches.has(id)) return DUPLICATE_ID;
    return this.#hub.hasRoom(bytesOf(range)) ? undefined : TOO_MANY;
  }

  #freeId(): bigint {
    while (this.#watches.has(this.#nextId)) this.#nextId++;
    return this.#nextId++;
  }
}

function bytesOf({ start, end }: KeyRange): number {
  return start.length + (end?.length ?? 0);
}

function sizeOfAll(events: readonly WatchEvent[]): number {
  return events.reduce((sum, event) => sum + sizeOf(event), 0);
}

/** Bytes of an event's keys and values. */
export function sizeOf({ change, previous }: WatchEvent): number {
  const value = change.kind === "put" ? change.entry.value.length : 0;
  const before = previous === undefined ? 0 : previous.key.length + previous.value.length;
  return changedKey(change).length + value + before;
}
