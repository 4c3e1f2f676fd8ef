/**
 * The data on disk: one SQLite file in WAL mode.
 *
 * `live` holds each key as it is now, `history` each change since the last compaction. A transaction
 * ends with fsync(2) of the log (`synchronous=FULL`, https://sqlite.org/pragma.html#pragma_synchronous),
 * so that what was acknowledged survives a crash of the machine, and what was not is gone as a whole.
 */

import { Database, type SQLQueryBindings, type Statement } from "bun:sqlite";
import { checksumOf } from "./checksum.ts";
import { DatastoreError } from "./datastore_error.ts";
import type { Change, RevisionEntry } from "./revision_entry.ts";
import { entryOf, type Row } from "./entry_row.ts";
import { compareKeys, type KeyRange, keyText } from "./key_range.ts";
import { RequestError } from "./request_error.ts";
import { isIntact, secondCopy, type Statements, type Table, writeCopy } from "./second_copy.ts";
import { failureText, openDatabase } from "./storage_file.ts";

/** What changes with almost every transaction. */
export interface StorageState {
  /** Revision of the last change. */
  readonly revision: bigint;
  /** The first revision that can still be read; -1n before the first compaction. */
  readonly compactRevision: bigint;
  /** The datastore's clock when it was last written; see lease_clock.ts. */
  readonly clockMs: bigint;
}

export interface StoredLease {
  readonly id: bigint;
  readonly ttlSeconds: bigint;
  /** On the datastore's clock. */
  readonly deadlineMs: bigint;
}

export interface ClusterIdentity {
  readonly clusterId: bigint;
  readonly memberId: bigint;
}

/** How much of the history is read at a time. */
export interface PageSize {
  readonly changes: number;
  /** Of keys and values. */
  readonly bytes: number;
}

export interface StorageEvents {
  /** A write failed because the disk is full. */
  full(): void;
  /** A write succeeded. */
  written(): void;
  /** The checksum of a key, or of an old version of it, does not match. */
  damaged(place: string): void;
  /** One of which there was a second copy. */
  restored(place: string): void;
  /** An index did not agree with its table, and was made again out of it. */
  reindexed(): void;
}

/** The keys to read. */
export interface RowSelection {
  readonly range: KeyRange;
  /** A revision that is not compacted; absent for the current keys. */
  readonly revision?: bigint | undefined;
  readonly limit?: bigint | undefined;
  /** Leaves the values empty, without reading them. */
  readonly keysOnly?: boolean | undefined;
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
  readonly file: string;
  /** Resolves when the disk has failed in a way after which nothing may be written. */
  readonly failed: Promise<DatastoreError>;
  readonly #database: Database;
  readonly #lock: Disposable;
  readonly #statements = new Map<string, Statement>();
  readonly #fail: (error: DatastoreError) => void;
  #isClosed = false;
  #failure: DatastoreError | undefined;
  /** Receives events of the disk, in addition to the error that one client gets. */
  events: StorageEvents = { full() {}, written() {}, damaged() {}, restored() {}, reindexed() {} };

  /** Opens the directory's data, or begins an empty store. Throws `DatastoreError`. */
  constructor(directory: string) {
    const { database, file, lock } = openDatabase(directory);
    this.#database = database;
    this.#lock = lock;
    this.file = file;
    const failed = Promise.withResolvers<DatastoreError>();
    this.failed = failed.promise;
    this.#fail = failed.resolve;
    const [row] = this.#rows("SELECT cluster_id, member_id FROM identity");
    const [clusterId, memberId] = row as [bigint, bigint];
    this.identity = { clusterId, memberId };
  }

  /** Writes the log back into the file, and lets go of its lock and of the directory's. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    for (const statement of this.#statements.values()) statement.finalize();
    this.#database.close();
    this.#lock[Symbol.dispose]();
  }

  /**
   * Performs `act` wholly or not at all, durably; `act` may run twice. Throws what `act` throws, the
   * `Refusal` "noSpace" when the disk is full, and `DatastoreError` for any other failure of the disk.
   */
  transaction<T>(act: () => T): T {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      const result = this.#withSoundIndexes(() => this.#commit(act));
      this.events.written();
      return result;
    } catch (error) {
      const failure = this.#diskFailure(error) ?? error;
      if (failure instanceof RequestError && failure.reason === "noSpace") this.events.full();
      throw failure;
    }
  }

  #commit<T>(act: () => T): T {
    try {
      this.#run("BEGIN");
      const result = act();
      this.#run("COMMIT");
      return result;
    } catch (error) {
      this.#rollBack();
      throw error;
    }
  }

  /**
   * Damage in an index, or in a column that has one, is found when the row is removed from the index;
   * the tables say what belongs there.
   */
  #withSoundIndexes<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      if (sqliteCode(error) !== "SQLITE_CORRUPT_INDEX") throw error;
      this.#run("REINDEX");
      this.events.reindexed();
      return act();
    }
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  readState(): StorageState {
    const [row] = this.#rows("SELECT revision, compact_revision, clock_ms FROM state");
    const [revision, compactRevision, clockMs] = row as [bigint, bigint, bigint];
    return { revision, compactRevision, clockMs };
  }

  writeState({ revision, compactRevision, clockMs }: StorageState): void {
    this.#run("UPDATE state SET revision = ?, compact_revision = ?, clock_ms = ?", [
      revision,
      compactRevision,
      clockMs,
    ]);
  }

  /**
   * The selected keys, in order. Throws `Refusal` "dataLoss" for one whose checksum does not match and
   * that has no second copy; with `keysOnly` it is not checked.
   */
  entries(selection: RowSelection): RevisionEntry[] {
    const { table, where, values, revisionColumn } = rowsOf(selection);
    const value = selection.keysOnly ? "x''" : "value";
    const { limit = UNLIMITED } = selection;
    const read = () =>
      this.#rows(
        `SELECT key, ${value}, create_revision, ${revisionColumn}, version, lease, checksum
         FROM ${table} WHERE ${where} ORDER BY key LIMIT ?`,
        [...values, limit],
      );
    if (selection.keysOnly) return read().map(entryOf);
    return this.#checkedRows(selection.revision === undefined ? "live" : "history", read);
  }

  /** What `entries` would return, without reading the values. */
  measure(selection: RowSelection): Size & { readonly last: Uint8Array | undefined } {
    const { table, where, values } = rowsOf(selection);
    const bytes = selection.keysOnly ? "LENGTH(key)" : "LENGTH(key) + LENGTH(value)";
    const { limit = UNLIMITED } = selection;
    const [row] = this.#rows(
      `SELECT COUNT(*), COALESCE(SUM(bytes), 0), MAX(key) FROM (
         SELECT key, ${bytes} AS bytes FROM ${table} WHERE ${where} ORDER BY key LIMIT ?)`,
      [...values, limit],
    );
    const [keys, sum, last] = row as [bigint, bigint, Uint8Array | null];
    return { keys: Number(keys), bytes: Number(sum), last: last ?? undefined };
  }

  /** How many of the first selected keys, but at least one, fit into `maxBytes`. */
  countWithin(
    selection: RowSelection & { readonly limit: bigint },
    maxBytes: number,
  ): { readonly fitting: bigint; readonly hasMore: boolean } {
    const { table, where, values } = rowsOf(selection);
    const sizes = this.#rows(
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
    return this.#count(`SELECT COUNT(*) FROM ${table} WHERE ${where}`, values);
  }

  /** Keys attached to a lease, in order. */
  leaseKeys(lease: bigint): Uint8Array[] {
    return this.#rows("SELECT key FROM live WHERE lease = ? AND lease <> 0 ORDER BY key", [lease])
      .map(([key]) => key as Uint8Array);
  }

  /** The size of `leaseKeys`. */
  leaseKeysSize(lease: bigint): Size {
    const [row] = this.#rows(
      "SELECT COUNT(*), COALESCE(SUM(LENGTH(key)), 0) FROM live WHERE lease = ? AND lease <> 0",
      [lease],
    );
    const [keys, bytes] = row as [bigint, bigint];
    return { keys: Number(keys), bytes: Number(bytes) };
  }

  /** Records a change as the number `sub` of its revision, and makes it the present. */
  addChange(change: Change, sub: number): void {
    const { revision } = change;
    const number = BigInt(sub);
    if (change.kind === "delete") {
      this.#run("DELETE FROM live WHERE key = ?", [change.key]);
      const deletion = { ...DELETION, key: change.key, modRevision: revision };
      const checksum = checksumOf(deletion);
      this.#run(INSERT_HISTORY, [revision, number, change.key, NO_VALUE, 0n, 0n, 0n, checksum]);
      return;
    }
    const { key, value, createRevision, modRevision, version, lease } = change.entry;
    const checksum = checksumOf(change.entry);
    this.#run(
      `INSERT OR REPLACE INTO live
       (key, value, create_revision, mod_revision, version, lease, checksum)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      [key, value, createRevision, modRevision, version, lease, checksum],
    );
    const rest = [key, value, createRevision, version, lease, checksum];
    this.#run(INSERT_HISTORY, [revision, number, ...rest]);
  }

  /**
   * Changes of keys in the range from a revision on, in order, as many as fit into the page but
   * always whole revisions and at least one; `next` is the revision to go on from, `undefined` if
   * there are no more. Throws `Refusal` "dataLoss" as `entries` does.
   */
  changesFrom(
    range: KeyRange,
    revision: bigint,
    page: PageSize,
  ): { changes: Change[]; next: bigint | undefined } {
    const { where, values } = rangeCondition(range);
    // Sizes first: SQLite tells a value's length without reading it.
    const sizes = this.#rows(
      `SELECT revision, LENGTH(key) + LENGTH(value) FROM history
       WHERE revision >= ? AND ${where} ORDER BY revision, sub LIMIT ?`,
      [revision, ...values, BigInt(page.changes + 1)],
    ) as [bigint, bigint][];
    const next = pageEnd(sizes, page);
    const read = () =>
      this.#rows(
        `SELECT key, value, create_revision, revision, version, lease, checksum FROM history
         WHERE revision >= ? AND revision < ? AND ${where} ORDER BY revision, sub`,
        [revision, next ?? MAX_REVISION, ...values],
      );
    return { changes: this.#checkedRows("history", read).map(changeOf), next };
  }

  /**
   * Forgets what is not needed to read at `revision` or to follow changes from there on: earlier
   * deletions, and earlier puts that a later change up to `revision` has replaced. Processes the given
   * number of changes and returns the position of the next one. The order is that of the history, so that
   * a deletion is not forgotten before the puts that it has deleted.
   */
  forgetBefore(revision: bigint, from: Position, changes: number): Position | undefined {
    const [next] = this.#rows(
      `SELECT revision, sub FROM history WHERE (revision, sub) >= (?, ?) AND revision < ?
       ORDER BY revision, sub LIMIT 1 OFFSET ?`,
      [from.revision, from.sub, revision, BigInt(changes)],
    ) as [bigint, bigint][];
    const [endRevision, endSub] = next ?? [revision, 0n];
    this.#run(
      `DELETE FROM history AS h WHERE (revision, sub) >= (?, ?) AND (revision, sub) < (?, ?)
       AND (version = 0 OR EXISTS (
         SELECT 1 FROM history AS later WHERE later.key = h.key AND later.revision <= ?
         AND (later.revision, later.sub) > (h.revision, h.sub)))`,
      [from.revision, from.sub, endRevision, endSub, revision],
    );
    return next && { revision: endRevision, sub: endSub };
  }

  leases(): StoredLease[] {
    return this.#rows("SELECT id, ttl_seconds, deadline_ms FROM lease").map((row) => {
      const [id, ttlSeconds, deadlineMs] = row as [bigint, bigint, bigint];
      return { id, ttlSeconds, deadlineMs };
    });
  }

  writeLease({ id, ttlSeconds, deadlineMs }: StoredLease): void {
    this.#run("INSERT OR REPLACE INTO lease (id, ttl_seconds, deadline_ms) VALUES (?, ?, ?)", [
      id,
      ttlSeconds,
      deadlineMs,
    ]);
  }

  removeLease(id: bigint): void {
    this.#run("DELETE FROM lease WHERE id = ?", [id]);
  }

  /** Bytes of the file, and those of them that hold data. */
  sizes(): { fileBytes: bigint; usedBytes: bigint } {
    const pages = this.#count("PRAGMA page_count");
    const free = this.#count("PRAGMA freelist_count");
    const pageBytes = this.#count("PRAGMA page_size");
    return { fileBytes: pages * pageBytes, usedBytes: (pages - free) * pageBytes };
  }

  /** What `read` returns, with the damaged rows restored. Throws `Refusal` "dataLoss". */
  #checkedRows(table: Table, read: () => Row[]): RevisionEntry[] {
    const rows = read();
    const damaged = rows.filter((row) => !isIntact(row));
    if (damaged.length === 0) return rows.map(entryOf);
    const copies = new Map(damaged.map((row) => [row, this.#restore(table, row)]));
    const isMoved = damaged.some((row) =>
      compareKeys(row[0] as Uint8Array, copies.get(row)?.key ?? NO_VALUE) !== 0
    );
    // The range may hold other keys now, or the same in another order.
    if (isMoved) return read().map((row) => isIntact(row) ? entryOf(row) : this.#lost(row));
    return rows.map((row) => copies.get(row) ?? entryOf(row));
  }

  /** Returns the row as it was. A full disk keeps it from being written, not from being read. */
  #restore(table: Table, row: Row): RevisionEntry {
    const database: Statements = {
      rows: (sql, values) => this.#rows(sql, values),
      run: (sql, values) => this.#run(sql, values),
    };
    const copy = secondCopy(database, table, row);
    if (copy === undefined) this.#lost(row);
    const write = () => writeCopy(database, table, row, copy);
    try {
      if (this.#database.inTransaction) write();
      else this.transaction(write);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
    }
    this.events.restored(placeOf(row));
    return copy;
  }

  #lost(row: Row): never {
    const place = placeOf(row);
    this.events.damaged(place);
    throw new RequestError("dataLoss", undefined, `: ${place} is damaged`);
  }

  #count(sql: string, values: SQLQueryBindings[] = []): bigint {
    return this.#rows(sql, values)[0]?.[0] as bigint;
  }

  #rows(sql: string, values: SQLQueryBindings[] = []): Row[] {
    try {
      return this.#statement(sql).values(...values) as unknown as Row[];
    } catch (error) {
      throw this.#diskFailure(error) ?? error;
    }
  }

  #run(sql: string, values: SQLQueryBindings[] = []): void {
    this.#statement(sql).run(...values);
  }

  #statement(sql: string): Statement {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const statement = this.#database.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #rollBack(): void {
    // SQLite itself has rolled back after some failures.
    try {
      if (this.#database.inTransaction) this.#run("ROLLBACK");
    } catch (error) {
      this.#diskFailure(error);
    }
  }

  /** A full disk is the client's error; after any other one the data on disk is uncertain. */
  #diskFailure(error: unknown): Error | undefined {
    const code = sqliteCode(error);
    if (code === undefined) return undefined;
    if (code === "SQLITE_FULL") return new RequestError("noSpace", error);
    this.#failure ??= new DatastoreError(failureText(this.file, error), { cause: error });
    this.#fail(this.#failure);
    return this.#failure;
  }
}

/** As the row says, which is damaged. */
function placeOf(row: Row): string {
  const { key, modRevision } = entryOf(row);
  return `key ${JSON.stringify(keyText(key))} of revision ${modRevision}`;
}

/** SQLite takes a negative limit as none. */
const UNLIMITED = -1n;
const MAX_REVISION = (1n << 63n) - 1n;
const NO_VALUE = new Uint8Array();

const INSERT_HISTORY =
  `INSERT INTO history (revision, sub, key, value, create_revision, version, lease, checksum)
   VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;

/** A deletion as it is stored. */
const DELETION = { value: NO_VALUE, createRevision: 0n, version: 0n, lease: 0n };

/** Takes the revision twice. A row of version 0 is a deletion. */
const LAST_PUT_UP_TO = `h.version > 0 AND h.revision <= ? AND NOT EXISTS (
  SELECT 1 FROM history AS later WHERE later.key = h.key AND later.revision <= ?
  AND (later.revision, later.sub) > (h.revision, h.sub))`;

/** The revision that the next page begins with; `sizes`: revision and bytes of each change. */
function pageEnd(sizes: readonly [bigint, bigint][], page: PageSize): bigint | undefined {
  let bytes = 0n;
  for (const [index, [revision, size]] of sizes.entries()) {
    bytes += size;
    if (index < page.changes && bytes <= page.bytes) continue;
    const first = sizes[0]?.[0] as bigint;
    return revision > first ? revision : first + 1n;
  }
  return undefined;
}

interface Rows {
  readonly table: string;
  readonly where: string;
  readonly values: SQLQueryBindings[];
  readonly revisionColumn: string;
}

function rowsOf({ range, revision }: RowSelection): Rows {
  const { where, values } = rangeCondition(range);
  if (revision === undefined) {
    return { table: "live", where, values, revisionColumn: "mod_revision" };
  }
  return {
    table: "history AS h",
    where: `${where} AND ${LAST_PUT_UP_TO}`,
    values: [...values, revision, revision],
    revisionColumn: "revision",
  };
}

function rangeCondition({ start, end }: KeyRange): { where: string; values: SQLQueryBindings[] } {
  return end === undefined
    ? { where: "key >= ?", values: [start] }
    : { where: "key >= ? AND key < ?", values: [start, end] };
}

function changeOf(entry: RevisionEntry): Change {
  const revision = entry.modRevision;
  return entry.version === 0n
    ? { kind: "delete", revision, key: entry.key }
    : { kind: "put", revision, entry };
}

function sqliteCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  const { code } = error;
  return typeof code === "string" && code.startsWith("SQLITE_") ? code : undefined;
}
