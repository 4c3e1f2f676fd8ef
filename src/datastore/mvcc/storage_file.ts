/**
 * The datastore's file: created as a whole, locked while in use, checked before anything is
 * written.
 *
 * The lock of the directory excludes other datastores; SQLite's own lock (`locking_mode=EXCLUSIVE`)
 * excludes other programs that use SQLite. Both end with the process, even if it is killed.
 */

import { Database } from "bun:sqlite";
import { closeSync, existsSync, fsyncSync, linkSync, mkdirSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { errorMessage } from "../../base/operator_error.ts";
import { checksumOf } from "./checksum.ts";
import { DatastoreError } from "./datastore_error.ts";
import { lockDirectory } from "./directory_lock.ts";
import { entryOf } from "./entry_row.ts";

/** "flnl", in SQLite's header: identifies the file to file(1) and to flanneld. */
const APPLICATION_ID = 0x666c6e6c;
/** Version of the layout of the tables. A later version has to upgrade from this one. */
const LAYOUT = 2;

const TABLES = `
  CREATE TABLE identity (cluster_id INTEGER NOT NULL, member_id INTEGER NOT NULL);
  CREATE TABLE state (
    revision INTEGER NOT NULL, compact_revision INTEGER NOT NULL, clock_ms INTEGER NOT NULL);
  CREATE TABLE live (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, create_revision INTEGER NOT NULL,
    mod_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER NOT NULL,
    checksum INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX live_by_lease ON live (lease, key) WHERE lease <> 0;
  CREATE TABLE history (
    revision INTEGER NOT NULL, sub INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
    create_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (revision, sub)) WITHOUT ROWID;
  CREATE INDEX history_by_key ON history (key, revision, sub);
  CREATE TABLE lease (
    id INTEGER PRIMARY KEY, ttl_seconds INTEGER NOT NULL, deadline_ms INTEGER NOT NULL);
  INSERT INTO state VALUES (1, -1, 0);
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${LAYOUT};`;

/** An open database, and the lock of its directory, which has to be released after it. */
export interface OpenDatabase {
  readonly database: Database;
  readonly file: string;
  readonly lock: Disposable;
}

/**
 * Opens the file in this directory, which no other process may have open; creates both if they do
 * not exist. A damaged file, or one of another program, is not changed. Throws `DatastoreError`.
 */
export function openDatabase(directory: string): OpenDatabase {
  const file = join(directory, FILE);
  using onFailure = new DisposableStack();
  try {
    makeDirectory(directory);
    const lock = onFailure.use(lockDirectory(directory));
    removeDrafts(directory);
    if (!existsSync(file)) createFile(directory, file);
    const database = new Database(file, { readwrite: true, safeIntegers: true, strict: true });
    // Stays open if it is damaged: closing would write its log back into it.
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    checkFile(database, file);
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA synchronous = FULL");
    if (layoutOf(database) === 1n) addChecksums(database);
    database.run(`PRAGMA journal_size_limit = ${LOG_KEPT_BYTES}`);
    onFailure.move();
    return { database, file, lock };
  } catch (error) {
    if (error instanceof DatastoreError) throw error;
    throw new DatastoreError(failureText(file, error), { cause: error });
  }
}

/** Creates the data directory, for its owner only, unless it exists. Throws `DatastoreError`. */
function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const problem = code === "EEXIST"
      ? "is not a directory"
      : code === "ENOTDIR"
      ? "is below a file that is not a directory"
      : undefined;
    throw new DatastoreError(
      problem === undefined
        ? `cannot create --data-dir ${directory}: ${errorMessage(cause)}`
        : `--data-dir ${directory} ${problem}`,
      { cause },
    );
  }
}

/** The message for an error of the system or of SQLite. */
export function failureText(file: string, error: unknown): string {
  const { code = "", message } = error as { code?: string; message: string };
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) {
    return `${file} is in use by another program, such as sqlite3; stop that program first`;
  }
  if (code.startsWith("SQLITE_CORRUPT") || code.startsWith("SQLITE_NOTADB")) {
    return damaged(file, message);
  }
  return `cannot use ${file}: ${message}${code === "" ? "" : ` (${code})`}`;
}

/** A log that has grown under load is truncated to this size. */
const LOG_KEPT_BYTES = 16 << 20;

/** Written under another name and then linked, so that a file of this name is always complete. */
function createFile(directory: string, file: string): void {
  if (existsSync(`${file}-wal`)) {
    throw new DatastoreError(
      `${file} is missing, but ${file}-wal exists; restore both from a backup, ` +
        `or remove ${file}-wal`,
    );
  }
  const draft = join(directory, DRAFT);
  writeDraft(draft);
  linkSync(draft, file);
  rmSync(draft);
  const folder = openSync(directory, "r");
  fsyncSync(folder);
  closeSync(folder);
}

const FILE = "datastore.sqlite";
const DRAFT = `${FILE}.new`;

function writeDraft(draft: string): void {
  // Others may be able to read the directory, and the configuration may contain a PSK.
  closeSync(openSync(draft, "wx", 0o600));
  using database = new Database(draft, { readwrite: true });
  const [clusterId, memberId] = [randomId(), randomId()];
  database.run("PRAGMA synchronous = FULL");
  database.transaction(() => {
    database.run(TABLES);
    database.run(`INSERT INTO identity VALUES (${clusterId}, ${memberId})`);
  })();
}

/** Removes the draft of a process that was killed, and SQLite's journal of it. */
function removeDrafts(directory: string): void {
  for (const name of [DRAFT, `${DRAFT}-journal`]) rmSync(join(directory, name), { force: true });
}

/** Positive; in etcd's messages, 0 means none. */
function randomId(): bigint {
  const [bits = 1n] = crypto.getRandomValues(new BigUint64Array(1));
  return (bits >> 1n) | 1n;
}

function checkFile(database: Database, file: string): void {
  const first = (sql: string) => database.query(sql).values()[0]?.[0];
  const application = first("PRAGMA application_id");
  if (application !== BigInt(APPLICATION_ID)) {
    throw new DatastoreError(
      first("SELECT COUNT(*) FROM sqlite_schema") === 0n
        ? damaged(file, "it is empty")
        : `${file} is not a datastore of flanneld; choose another --data-dir`,
    );
  }
  const layout = layoutOf(database);
  if (layout < 1n || layout > BigInt(LAYOUT)) {
    throw new DatastoreError(
      `${file} has layout ${layout}, but this version of flanneld supports layout ${LAYOUT}; ` +
        "serve it with the version that wrote it, and move its keys with flanneld datastore " +
        "export, and import into another --data-dir",
    );
  }
  const problem = first("PRAGMA quick_check(1)");
  if (problem !== "ok") throw new DatastoreError(damaged(file, String(problem)));
}

function layoutOf(database: Database): bigint {
  return database.query("PRAGMA user_version").values()[0]?.[0] as bigint;
}

/** Upgrades layout 1 to 2 in one transaction. Assumes that the content is intact. */
function addChecksums(database: Database): void {
  database.transaction(() => {
    for (const [table, revision, rowId] of CHECKED_TABLES) {
      database.run(`ALTER TABLE ${table} ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0`);
      using read = database.prepare(
        `SELECT key, value, create_revision, ${revision}, version, lease, ${rowId.join(", ")}
         FROM ${table} WHERE (${rowId.join(", ")}) > (${rowId.map(() => "?").join(", ")})
         ORDER BY ${rowId.join(", ")} LIMIT 100`,
      );
      using write = database.prepare(
        `UPDATE ${table} SET checksum = ? WHERE ${
          rowId.map((name) => `${name} = ?`).join(" AND ")
        }`,
      );
      type RowId = (bigint | Uint8Array)[];
      let after: RowId = rowId.map((name) => name === "key" ? new Uint8Array() : -1n);
      for (;;) {
        const rows = read.values(...after) as unknown as RowId[];
        for (const row of rows) {
          after = row.slice(6);
          write.run(checksumOf(entryOf(row)), ...after);
        }
        if (rows.length < 100) break;
      }
    }
    database.run(`PRAGMA user_version = ${LAYOUT}`);
  })();
}

/** Each table with the column of its revision and its primary key. */
const CHECKED_TABLES = [
  ["live", "mod_revision", ["key"]],
  ["history", "revision", ["revision", "sub"]],
] as const;

function damaged(file: string, problem: string): string {
  return `${file} is damaged (${problem.replace(/\s+/g, " ")}) and was not changed; restore it ` +
    "from a backup, or move it away to start with an empty store";
}
