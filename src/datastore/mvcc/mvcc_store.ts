/**
 * Keys and their history, as etcd's mvcc: each transaction with a change creates the next revision,
 * and every revision since the last compaction can be read and watched.
 */

import type { Change, RevisionEntry } from "./revision_entry.ts";
import { keyAfter, type KeyInterval, singleKey } from "./key_interval.ts";
import { RequestError } from "./request_error.ts";
import type { HistoryPageSize, RowSelection } from "./row_selection.ts";
import type { Position, Size, Storage } from "./storage.ts";

/** Readable keys: the current ones, or those in the middle of a transaction. */
export interface ReadView {
  /** The revision of these keys. */
  readonly revision: bigint;
  /** Throws `RequestError` for a compacted or future revision. */
  read(range: KeyInterval, options?: ReadOptions): ReadResult;
  /** Throws `RequestError` "futureRevision" or "compacted". */
  assertReadable(revision: bigint): void;
}

export interface ReadOptions {
  /** 0n or absent: the current one. */
  readonly revision?: bigint;
  /** 0n or absent: all. */
  readonly limit?: bigint;
  /** Omits the entries. */
  readonly countOnly?: boolean;
  /** Omits the values. */
  readonly keysOnly?: boolean;
}

export interface ReadResult {
  /** In the order of their keys. */
  readonly entries: readonly RevisionEntry[];
  /** Number of keys in the range, regardless of the limit. */
  readonly count: bigint;
}

export type CommitListener = (changes: readonly Change[]) => void;

/** Changes of the history that are processed at a time, in about a millisecond. */
const COMPACTED_AT_A_TIME = 500;

export class MvccStore implements ReadView {
  readonly #storage: Storage;
  /** The clock of the leases, for `StorageState`. */
  readonly #nowMs: () => number;
  readonly #listeners = new Set<CommitListener>();
  readonly #snapshots = new Set<Snapshot>();
  #compaction = Promise.resolve();
  #revision: bigint;
  #compactRevision: bigint;

  constructor(storage: Storage, nowMs: () => number) {
    this.#storage = storage;
    this.#nowMs = nowMs;
    ({ revision: this.#revision, compactRevision: this.#compactRevision } = storage.readState());
  }

  get revision(): bigint {
    return this.#revision;
  }

  get compactRevision(): bigint {
    return this.#compactRevision;
  }

  read(range: KeyInterval, options: ReadOptions = {}): ReadResult {
    const { revision = 0n } = options;
    this.assertReadable(revision);
    const isNow = revision <= 0n || revision === this.#revision;
    return readRows(this.#storage, { range, revision: isNow ? undefined : revision }, options);
  }

  /** Keeps a revision readable despite later writes and compactions. Throws `RequestError`. */
  snapshot(revision: bigint): Snapshot {
    this.assertReadable(revision);
    const snapshot = new Snapshot(this.#storage, {
      revision: revision <= 0n ? this.#revision : revision,
      storeRevision: () => this.#revision,
      onClose: () => this.#snapshots.delete(snapshot),
    });
    this.#snapshots.add(snapshot);
    return snapshot;
  }

  assertReadable(revision: bigint): void {
    if (revision > this.#revision) throw new RequestError("futureRevision");
    this.assertKept(revision);
  }

  /** Throws `RequestError` "compacted". */
  assertKept(revision: bigint): void {
    if (revision > 0n && revision < this.#compactRevision) throw new RequestError("compacted");
  }

  /** The key at a revision; `undefined` if it did not exist or the revision is compacted. */
  entryAt(key: Uint8Array, revision: bigint): RevisionEntry | undefined {
    if (revision < 1n || revision < this.#compactRevision) return undefined;
    return this.#storage.entries({ range: singleKey(key), revision, limit: 1n })[0];
  }

  /** See `Storage.changesFrom`. */
  changesFrom(
    range: KeyInterval,
    revision: bigint,
    page: HistoryPageSize,
  ): { changes: Change[]; next: bigint | undefined } {
    return this.#storage.changesFrom(range, revision, page);
  }

  /**
   * Runs `act` as one revision: all of its changes are on disk, or none. Notifies the listeners
   * afterwards. Throws what `act` and `Storage.transaction` throw.
   */
  write<T>(act: (transaction: WriteTransaction) => T): T {
    let result: T | undefined;
    this.writeEach([(transaction) => result = act(transaction)]);
    return result as T;
  }

  /**
   * Like `write` for each of `acts` in order, but with one fsync: all changes are on disk, or none.
   * Returns the revision after each.
   */
  writeEach(acts: readonly ((transaction: WriteTransaction) => void)[]): bigint[] {
    const transactions: WriteTransaction[] = [];
    this.#storage.transaction(() => {
      transactions.length = 0;
      let revision = this.#revision;
      for (const act of acts) {
        const transaction = new WriteTransaction(this, this.#storage, revision);
        act(transaction);
        revision = transaction.revision;
        transactions.push(transaction);
      }
      if (revision > this.#revision) this.#writeState({ revision });
    });
    const revisions = transactions.map(({ revision }) => revision);
    // Before the listeners run: one may compact, which writes the store's revision.
    this.#revision = revisions.at(-1) ?? this.#revision;
    for (const { changes } of transactions) {
      if (changes.length === 0) continue;
      for (const listener of this.#listeners) listener(changes);
    }
    return revisions;
  }

  /** Writes changes of leases, without a revision. */
  writeLeases(act: (storage: Storage) => void): void {
    this.#storage.transaction(() => {
      act(this.#storage);
      this.#writeState({});
    });
  }

  /**
   * Compacts the history before a revision, which stays readable. Throws `RequestError`. Older
   * revisions become unreadable at once; resolves when their data has been deleted from the disk,
   * in slices.
   */
  compact(revision: bigint): Promise<void> {
    if (revision <= this.#compactRevision) throw new RequestError("compacted");
    if (revision > this.#revision) throw new RequestError("futureRevision");
    this.#storage.transaction(() => this.#writeState({ compactRevision: revision }));
    this.#compactRevision = revision;
    this.#compaction = this.#compaction.then(() => this.#deleteCompacted());
    return this.#compaction;
  }

  /** After a failure or a restart, the next compaction deletes the rest. */
  async #deleteCompacted(): Promise<void> {
    const storage = this.#storage;
    const revision = this.#neededRevision();
    let from: Position | undefined = { revision: 0n, sub: 0n };
    while (from !== undefined && !storage.isClosed) {
      const start: Position = from;
      try {
        from = storage.transaction(() =>
          storage.deleteCompacted(revision, start, COMPACTED_AT_A_TIME)
        );
      } catch {
        return; // the storage has reported the failure
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The oldest revision that a snapshot needs; the next compaction deletes what this one keeps. */
  #neededRevision(): bigint {
    let needed = this.#compactRevision;
    for (const { revision } of this.#snapshots) if (revision < needed) needed = revision;
    return needed;
  }

  /** Calls back after each revision. */
  onCommit(listener: CommitListener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  #writeState(
    { revision = this.#revision, compactRevision = this.#compactRevision }: {
      revision?: bigint;
      compactRevision?: bigint;
    },
  ): void {
    const clockMs = BigInt(Math.floor(this.#nowMs()));
    this.#storage.writeState({ revision, compactRevision, clockMs });
  }
}

export interface Page {
  readonly entries: readonly RevisionEntry[];
  /** The rest of the range; `undefined` at its end. */
  readonly rest: KeyInterval | undefined;
}

/** The keys at one revision, which can be read page by page while the store changes. */
export class Snapshot implements Disposable {
  readonly revision: bigint;
  /** The store's revision when the snapshot was taken. */
  readonly storeRevision: bigint;
  readonly #storage: Storage;
  readonly #nowRevision: () => bigint;
  readonly #onClose: () => void;

  constructor(
    storage: Storage,
    { revision, storeRevision, onClose }: {
      revision: bigint;
      storeRevision: () => bigint;
      onClose: () => void;
    },
  ) {
    this.#storage = storage;
    this.revision = revision;
    this.storeRevision = storeRevision();
    this.#nowRevision = storeRevision;
    this.#onClose = onClose;
  }

  [Symbol.dispose](): void {
    this.#onClose();
  }

  /** The first keys of a range: `keys` of them, or fewer if they are large. */
  page(range: KeyInterval, { keys, bytes, keysOnly }: PageLimits): Page {
    const selection = this.#selection({ range, keysOnly });
    const limited = { ...selection, limit: BigInt(keys) };
    const { fitting, hasMore } = this.#storage.countWithin(limited, bytes);
    const entries = this.#storage.entries({ ...selection, limit: fitting });
    const last = entries.at(-1);
    const rest = hasMore && last ? { start: keyAfter(last.key), end: range.end } : undefined;
    return { entries, rest };
  }

  /** The size of the first keys of a range. */
  measure(
    range: KeyInterval,
    { keys, keysOnly }: Omit<PageLimits, "bytes">,
  ): Size & { readonly rest: KeyInterval | undefined } {
    const selection = this.#selection({ range, keysOnly });
    const { last, ...size } = this.#storage.measure({ ...selection, limit: BigInt(keys) });
    const isOver = last === undefined || size.keys < keys;
    return { ...size, rest: isOver ? undefined : { start: keyAfter(last), end: range.end } };
  }

  /** Until the next write, the current keys are those of the snapshot, and are faster to read. */
  #selection(selection: RowSelection): RowSelection {
    const isNow = this.revision === this.#nowRevision();
    return { ...selection, revision: isNow ? undefined : this.revision };
  }
}

export interface PageLimits {
  readonly keys: number;
  readonly bytes: number;
  readonly keysOnly: boolean;
}

/** The changes of one revision while they are made; each sees those before it. */
export class WriteTransaction implements ReadView {
  readonly changes: Change[] = [];
  /** Called before each read, with its size; may throw. */
  charge: (size: Size) => void = () => {};
  readonly #store: MvccStore;
  readonly #storage: Storage;
  /** The revision before this transaction. */
  readonly #before: bigint;

  constructor(store: MvccStore, storage: Storage, before: bigint) {
    this.#store = store;
    this.#storage = storage;
    this.#before = before;
  }

  /** The previous revision, and the next one after the first change. */
  get revision(): bigint {
    return this.#before + (this.changes.length > 0 ? 1n : 0n);
  }

  read(range: KeyInterval, options: ReadOptions = {}): ReadResult {
    const { revision = 0n } = options;
    if (revision > 0n) this.assertReadable(revision);
    const selection = { range, revision: revision > 0n ? revision : undefined };
    return readRows(this.#storage, selection, options, this.charge);
  }

  assertReadable(revision: bigint): void {
    if (revision > this.#before) throw new RequestError("futureRevision");
    this.#store.assertKept(revision);
  }

  /** The key as it is at this point of the transaction. */
  get(key: Uint8Array): RevisionEntry | undefined {
    return this.read(singleKey(key), { limit: 1n }).entries[0];
  }

  /** Like `get`, without the value. */
  properties(key: Uint8Array): RevisionEntry | undefined {
    return this.#storage.entries({ range: singleKey(key), keysOnly: true, limit: 1n })[0];
  }

  /** `previous`: the key as `get` or `properties` has just returned it. */
  put(
    { key, value, lease }: Pick<RevisionEntry, "key" | "value" | "lease">,
    previous: RevisionEntry | undefined,
  ): void {
    const revision = this.#before + 1n;
    const entry = {
      key,
      value,
      lease,
      createRevision: previous?.createRevision ?? revision,
      modRevision: revision,
      version: (previous?.version ?? 0n) + 1n,
    };
    this.#add({ kind: "put", revision, entry });
  }

  /** Removes the keys, which have to exist. */
  delete(keys: readonly Uint8Array[]): void {
    const revision = this.#before + 1n;
    for (const key of keys) this.#add({ kind: "delete", revision, key });
  }

  /** Removes a lease and its keys. */
  revoke(lease: bigint): void {
    this.delete(this.#storage.leaseKeys(lease));
    this.#storage.removeLease(lease);
  }

  #add(change: Change): void {
    this.#storage.addChange(change, this.changes.length);
    this.changes.push(change);
  }
}

/** `charge` is called before the rows are read, with an upper bound of their size. */
function readRows(
  storage: Storage,
  { range, revision }: Pick<RowSelection, "range" | "revision">,
  { limit = 0n, countOnly, keysOnly }: ReadOptions,
  charge?: (size: Size) => void,
): ReadResult {
  if (countOnly) {
    const count = storage.count({ range, revision });
    charge?.({ keys: Number(count), bytes: 0 });
    return { entries: [], count };
  }
  const selection = { range, revision, keysOnly, limit: limit > 0n ? limit : undefined };
  charge?.(storage.measure(selection));
  const entries = storage.entries(selection);
  if (limit <= 0n || BigInt(entries.length) < limit) {
    return { entries, count: BigInt(entries.length) };
  }
  const count = storage.count({ range, revision });
  charge?.({ keys: Number(count) - entries.length, bytes: 0 });
  return { entries, count };
}
