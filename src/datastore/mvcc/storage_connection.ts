/**
 * The open database: statements, durable transactions, and what a failure of the disk means.
 *
 * A transaction ends with fsync(2) of the log (`synchronous=FULL`,
 * https://sqlite.org/pragma.html#pragma_synchronous): what was acknowledged survives a crash of the
 * machine, and what was not is gone as a whole.
 */

import type { Database, SQLQueryBindings, Statement } from "bun:sqlite";
import { DatastoreError } from "./datastore_error.ts";
import type { Row } from "./entry_row.ts";
import { RequestError } from "./request_error.ts";
import { failureText, openDatabase } from "./storage_file.ts";

export interface StorageEvents {
  /** A write failed because the disk is full. */
  full(): void;
  /** A write succeeded. */
  written(): void;
  /** The checksum of a key, or of an old version of it, does not match. */
  damaged(place: string): void;
  /** A damaged key was restored from its second copy. */
  restored(place: string): void;
  /** A damaged index was rebuilt from its table. */
  reindexed(): void;
}

export class StorageConnection implements Disposable {
  readonly file: string;
  /** Resolves after a failure of the disk that allows no further writes. */
  readonly failed: Promise<DatastoreError>;
  /** Receives events of the disk, in addition to the error that one client gets. */
  events: StorageEvents = { full() {}, written() {}, damaged() {}, restored() {}, reindexed() {} };
  readonly #database: Database;
  readonly #lock: Disposable;
  readonly #statements = new Map<string, Statement>();
  readonly #fail: (error: DatastoreError) => void;
  #isClosed = false;
  #failure: DatastoreError | undefined;

  /** Opens the database of a directory, or creates an empty one. Throws `DatastoreError`. */
  constructor(directory: string) {
    const { database, file, lock } = openDatabase(directory);
    this.#database = database;
    this.#lock = lock;
    this.file = file;
    const failed = Promise.withResolvers<DatastoreError>();
    this.failed = failed.promise;
    this.#fail = failed.resolve;
  }

  /** Writes the log back into the file, and releases the locks of the file and the directory. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    for (const statement of this.#statements.values()) statement.finalize();
    this.#database.close();
    this.#lock[Symbol.dispose]();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get inTransaction(): boolean {
    return this.#database.inTransaction;
  }

  /**
   * Performs `act` completely or not at all, and durably; `act` may run twice. Throws what `act`
   * throws, `RequestError` "noSpace" if the disk is full, and `DatastoreError` for any other
   * failure of the disk.
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

  rows(sql: string, values: SQLQueryBindings[] = []): Row[] {
    try {
      return this.#statement(sql).values(...values) as unknown as Row[];
    } catch (error) {
      throw this.#diskFailure(error) ?? error;
    }
  }

  /** The only value of a statement such as `SELECT COUNT(*)`. */
  number(sql: string, values: SQLQueryBindings[] = []): bigint {
    return this.rows(sql, values)[0]?.[0] as bigint;
  }

  run(sql: string, values: SQLQueryBindings[] = []): void {
    this.#statement(sql).run(...values);
  }

  #commit<T>(act: () => T): T {
    try {
      this.run("BEGIN");
      const result = act();
      this.run("COMMIT");
      return result;
    } catch (error) {
      this.#rollBack();
      throw error;
    }
  }

  /**
   * SQLite detects damage in an index, or in an indexed column, when it removes the row from the
   * index. The index can be rebuilt from the table.
   */
  #withSoundIndexes<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      if (sqliteCode(error) !== "SQLITE_CORRUPT_INDEX") throw error;
      this.run("REINDEX");
      this.events.reindexed();
      return act();
    }
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
      if (this.#database.inTransaction) this.run("ROLLBACK");
    } catch (error) {
      this.#diskFailure(error);
    }
  }

  /**
   * A full disk is the client's error; after any other failure the content of the disk is unknown.
   */
  #diskFailure(error: unknown): Error | undefined {
    const code = sqliteCode(error);
    if (code === undefined) return undefined;
    if (code === "SQLITE_FULL") return new RequestError("noSpace", { cause: error });
    this.#failure ??= new DatastoreError(failureText(this.file, error), { cause: error });
    this.#fail(this.#failure);
    return this.#failure;
  }
}

function sqliteCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  const { code } = error;
  return typeof code === "string" && code.startsWith("SQLITE_") ? code : undefined;
}
