/**
 * The data on disk: one SQLite file in WAL mode. `live` holds each key as it is now, `history` each
 * change since the last compaction.
 */

import { checksumOf } from "./checksum.ts";
import { checkedRows } from "./checked_rows.ts";
import type { DatastoreError } from "./datastore_error.ts";
import { entryOf } from "./entry_row.ts";
import type { KeyInterval } from "./key_interval.ts";
import type { Change, RevisionEntry } from "./revision_entry.ts";
import {
  type HistoryPageSize,
  pageEnd,
  rangeCondition,
  type RowSelection,
  rowsOf,
} from "./row_selection.ts";
import { StorageConnection, type StorageEvents } from "./storage_connection.ts";

/** State that changes with almost every transaction. */
export interface StorageState {
  /** Revision of the last change. */
  readonly revision: bigint;
  /** The first revision that can still be read; -1n before the first compaction. */
  readonly compactRevision: bigint;
  /** The clock of the leases; see lease_clock.ts. */
  readonly clockMs: bigint;
}

export interface StoredLease {
  readonly id: bigint;
  readonly ttlSeconds: bigint;
  /** On the clock of the leases. */
  readonly deadlineMs: bigint;
}

export interface ClusterIdentity {
  readonly clusterId: bigint;
  readonly memberId: bigint;
}

/** The position of a change in the history. */
export interface Position {
  readonly revision: bigint;
  readonly sub: bigint;
}

export interface Size {
  readonly keys: number;
  /** Of keys and values. */
  readonly bytes: number;
}

export class Storage implements Disposable {
  readonly identity: ClusterIdentity;
  readonly #connection: StorageConnection;

  /** Opens the data of a directory, or creates an empty store. Throws `DatastoreError`. */
  constructor(directory: string) {
    this.#connection = new StorageConnection(directory);
    const [row] = this.#connection.rows("SELECT cluster_id, member_id FROM identity");
    const [clusterId, memberId] = row as [bigint, bigint];
    this.identity = { clusterId, memberId };
  }

  /** See `StorageConnection`. */
  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }

  get file(): string {
    return this.#connection.file;
  }

  get isClosed(): boolean {
    return this.#connection.isClosed;
  }

  /** See `StorageConnection.failed`. */
  get failed(): Promise<DatastoreError> {
    return this.#connection.failed;
  }

  set events(events: StorageEvents) {
    this.#connection.events = events;
  }

  /** See `StorageConnection.transaction`. */
  transaction<T>(act: () => T): T {
    return this.#connection.transaction(act);
  }

  readState(): StorageState {
    const [row] = this.#connection.rows("SELECT revision, compact_revision, clock_ms FROM state");
    const [revision, compactRevision, clockMs] = row as [bigint, bigint, bigint];
    return { revision, compactRevision, clockMs };
  }

  writeState({ revision, compactRevision, clockMs }: StorageState): void {
    this.#connection.run("UPDATE state SET revision = ?, compact_revision = ?, clock_ms = ?", [
      revision,
      compactRevision,
      clockMs,
    ]);
  }

  /**
   * The selected keys, in order. Throws `RequestError` "dataLoss" for a key whose checksum does not
   * match and that has no second copy. With `keysOnly`, checksums are not verified.
   */
  entries(selection: RowSelection): RevisionEntry[] {
    const { table, where, values, revisionColumn } = rowsOf(selection);
    const value = selection.keysOnly ? "x''" : "value";
    const { limit = UNLIMITED } = selection;
    const read = () =>
      this.#connection.rows(
        `SELECT key, ${value}, create_revision, ${revisionColumn}, version, lease, checksum
         FROM ${table} WHERE ${where} ORDER BY key LIMIT ?`,
        [...values, limit],
      );
    if (selection.keysOnly) return read().map(entryOf);
    return checkedRows(
      this.#connection,
      selection.revision === undefined ? "live" : "history",
      read,
    );
  }

  /** The size of what `entries` would return, without reading the values. */
  measure(selection: RowSelection): Size & { readonly last: Uint8Array | undefined } {
    const { table, where, values } = rowsOf(selection);
    const bytes = selection.keysOnly ? "LENGTH(key)" : "LENGTH(key) + LENGTH(value)";
    const { limit = UNLIMITED } = selection;
    const [row] = this.#connection.rows(
      `SELECT COUNT(*), COALESCE(SUM(bytes), 0), MAX(key) FROM (
         SELECT key, ${bytes} AS bytes FROM ${table} WHERE ${where} ORDER BY key LIMIT ?)`,
      [...values, limit],
    );
    const [keys, sum, last] = row as [bigint, bigint, Uint8Array | null];
    return { keys: Number(keys), bytes: Number(sum), last: last ?? undefined };
  }

  /** How many of the first selected keys fit into `maxBytes`; at least one. */
  countWithin(
    selection: RowSelection & { readonly limit: bigint },
    maxBytes: number,
  ): { readonly fitting: bigint; readonly hasMore: boolean } {
    const { table, where, values } = rowsOf(selection);
    const sizes = this.#connection.rows(
      `SELECT LENGTH(key) + LENGTH(value) FROM ${table} WHERE ${where} ORDER BY key LIMIT ?`,
      [...values, selection.limit + 1n],
    ) as [bigint][];
    let [bytes, fitting] = [0, 0];
    for (const [size] of sizes.slice(0, Number(selection.limit))) {
      bytes += Number(size);
      if (bytes > maxBytes && fitting > 0) break;
      fitting++;
    }
    return { fitting: BigInt(fitting), hasMore: fitting < sizes.length };
  }

  count(selection: RowSelection): bigint {
    const { table, where, values } = rowsOf(selection);
    return this.#connection.number(`SELECT COUNT(*) FROM ${table} WHERE ${where}`, values);
  }

  /** The keys attached to a lease, in order. */
  leaseKeys(lease: bigint): Uint8Array[] {
    return this.#connection.rows(
      "SELECT key FROM live WHERE lease = ? AND lease <> 0 ORDER BY key",
      [lease],
    )
      .map(([key]) => key as Uint8Array);
  }

  /** The size of `leaseKeys`. */
  leaseKeysSize(lease: bigint): Size {
    const [row] = this.#connection.rows(
      "SELECT COUNT(*), COALESCE(SUM(LENGTH(key)), 0) FROM live WHERE lease = ? AND lease <> 0",
      [lease],
    );
    const [keys, bytes] = row as [bigint, bigint];
    return { keys: Number(keys), bytes: Number(bytes) };
  }

  /** Adds a change to the history, as number `sub` of its revision, and to the current keys. */
  addChange(change: Change, sub: number): void {
    const { revision } = change;
    const number = BigInt(sub);
    if (change.kind === "delete") {
      this.#connection.run("DELETE FROM live WHERE key = ?", [change.key]);
      const deletion = { ...DELETION, key: change.key, modRevision: revision };
      const checksum = checksumOf(deletion);
      this.#connection.run(INSERT_HISTORY, [
        revision,
        number,
        change.key,
        NO_VALUE,
        0n,
        0n,
        0n,
        checksum,
      ]);
      return;
    }
    const { key, value, createRevision, modRevision, version, lease } = change.entry;
    const checksum = checksumOf(change.entry);
    this.#connection.run(
      `INSERT OR REPLACE INTO live
       (key, value, create_revision, mod_revision, version, lease, checksum)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      [key, value, createRevision, modRevision, version, lease, checksum],
    );
    const rest = [key, value, createRevision, version, lease, checksum];
    this.#connection.run(INSERT_HISTORY, [revision, number, ...rest]);
  }

  /**
   * Changes of keys in the range from a revision on, in order: as many as fit into the page, but
   * only complete revisions, and at least one. `next` is the first revision of the next page,
   * `undefined` at the end. Throws `RequestError` "dataLoss" as `entries` does.
   */
  changesFrom(
    range: KeyInterval,
    revision: bigint,
    page: HistoryPageSize,
  ): { changes: Change[]; next: bigint | undefined } {
    const { where, values } = rangeCondition(range);
    // Sizes first: SQLite knows the length of a value without reading it.
    const sizes = this.#connection.rows(
      `SELECT revision, LENGTH(key) + LENGTH(value) FROM history
       WHERE revision >= ? AND ${where} ORDER BY revision, sub LIMIT ?`,
      [revision, ...values, BigInt(page.changes + 1)],
    ) as [bigint, bigint][];
    const next = pageEnd(sizes, page);
    const read = () =>
      this.#connection.rows(
        `SELECT key, value, create_revision, revision, version, lease, checksum FROM history
         WHERE revision >= ? AND revision < ? AND ${where} ORDER BY revision, sub`,
        [revision, next ?? MAX_REVISION, ...values],
      );
    return { changes: checkedRows(this.#connection, "history", read).map(changeOf), next };
  }

  /**
   * Deletes what is not needed to read at `revision` or to watch from there on: earlier deletions,
   * and earlier puts that a later change up to `revision` has replaced. Processes the given number
   * of changes and returns the position of the next one. It follows the order of the history, so
   * that a deletion is not removed before the puts that it has deleted.
   */
  deleteCompacted(revision: bigint, from: Position, changes: number): Position | undefined {
    const [next] = this.#connection.rows(
      `SELECT revision, sub FROM history WHERE (revision, sub) >= (?, ?) AND revision < ?
       ORDER BY revision, sub LIMIT 1 OFFSET ?`,
      [from.revision, from.sub, revision, BigInt(changes)],
    ) as [bigint, bigint][];
    const [endRevision, endSub] = next ?? [revision, 0n];
    this.#connection.run(
      `DELETE FROM history AS h WHERE (revision, sub) >= (?, ?) AND (revision, sub) < (?, ?)
       AND (version = 0 OR EXISTS (
         SELECT 1 FROM history AS later WHERE later.key = h.key AND later.revision <= ?
         AND (later.revision, later.sub) > (h.revision, h.sub)))`,
      [from.revision, from.sub, endRevision, endSub, revision],
    );
    return next && { revision: endRevision, sub: endSub };
  }

  leases(): StoredLease[] {
    return this.#connection.rows("SELECT id, ttl_seconds, deadline_ms FROM lease").map((row) => {
      const [id, ttlSeconds, deadlineMs] = row as [bigint, bigint, bigint];
      return { id, ttlSeconds, deadlineMs };
    });
  }

  writeLease({ id, ttlSeconds, deadlineMs }: StoredLease): void {
    this.#connection.run(
      "INSERT OR REPLACE INTO lease (id, ttl_seconds, deadline_ms) VALUES (?, ?, ?)",
      [
        id,
        ttlSeconds,
        deadlineMs,
      ],
    );
  }

  removeLease(id: bigint): void {
    this.#connection.run("DELETE FROM lease WHERE id = ?", [id]);
  }

  /** Whether no key has ever been written. */
  get isUnused(): boolean {
    return this.readState().revision === FIRST_REVISION;
  }

  /** Whether it has been served with tokens; see `requireTokens`. */
  get requiresTokens(): boolean {
    return this.#connection.number(
      "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = 'requires_tokens'",
    ) > 0n;
  }

  /**
   * Records in the file itself that tokens are required, so that a copy of it is not served openly.
   * The record is an empty table, which earlier versions ignore.
   */
  requireTokens(): void {
    if (this.requiresTokens) return;
    this.transaction(() => {
      this.#connection.run("CREATE TABLE IF NOT EXISTS requires_tokens (none INTEGER)");
    });
  }

  /** Bytes of the file, and how many of them are in use. */
  sizes(): { fileBytes: bigint; usedBytes: bigint } {
    const pages = this.#connection.number("PRAGMA page_count");
    const free = this.#connection.number("PRAGMA freelist_count");
    const pageBytes = this.#connection.number("PRAGMA page_size");
    return { fileBytes: pages * pageBytes, usedBytes: (pages - free) * pageBytes };
  }
}

/** Of a new file, as in etcd. */
const FIRST_REVISION = 1n;
/** For SQLite, a negative limit is none. */
const UNLIMITED = -1n;
const MAX_REVISION = (1n << 63n) - 1n;
const NO_VALUE = new Uint8Array();

const INSERT_HISTORY =
  `INSERT INTO history (revision, sub, key, value, create_revision, version, lease, checksum)
   VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;

/** A deletion as it is stored. */
const DELETION = { value: NO_VALUE, createRevision: 0n, version: 0n, lease: 0n };

function changeOf(entry: RevisionEntry): Change {
  const revision = entry.modRevision;
  return entry.version === 0n
    ? { kind: "delete", revision, key: entry.key }
    : { kind: "put", revision, entry };
}
