/**
 * The second copy of a key: its last version is in `live` and in `history`, each with a checksum. A
 * damaged row is restored from the other one.
 */

import type { SQLQueryBindings } from "bun:sqlite";
import { checksumOf } from "./checksum.ts";
import type { RevisionEntry } from "./revision_entry.ts";
import { entryOf, type Row } from "./entry_row.ts";

export type Table = "live" | "history";

/** The part of the database that restoring needs. */
export interface Statements {
  rows(sql: string, values: SQLQueryBindings[]): Row[];
  run(sql: string, values: SQLQueryBindings[]): void;
}

/** Whether a row matches its checksum, the column after those that `entryOf` reads. */
export function isIntact(row: Row): boolean {
  return row[6] === checksumOf(entryOf(row));
}

/** The undamaged content of a damaged row; `undefined` if there is no second copy. */
export function secondCopy(
  database: Statements,
  table: Table,
  row: Row,
): RevisionEntry | undefined {
  const damaged = entryOf(row);
  if (table === "history") {
    const copy = intactEntry(database, `${SELECT_LIVE} WHERE key = ?`, [damaged.key]);
    return copy?.modRevision === damaged.modRevision ? copy : undefined;
  }
  const last = lastVersion(database, damaged.key);
  // If the last version is lost, an older one has neither revision nor checksum in common.
  const isSame = last !== undefined &&
    (last.modRevision === damaged.modRevision || checksumOf(last) === row[6]);
  return isSame ? last : versionOfOtherKey(database, row);
}

/** Replaces the damaged row. */
export function writeCopy(database: Statements, table: Table, row: Row, copy: RevisionEntry): void {
  const { key, value, createRevision, modRevision, version, lease } = copy;
  const checksum = checksumOf(copy);
  if (table === "history") {
    return database.run(
      `UPDATE history SET value = ?, create_revision = ?, version = ?, lease = ?, checksum = ?
       WHERE key = ? AND revision = ?`,
      [value, createRevision, version, lease, checksum, key, modRevision],
    );
  }
  database.run("DELETE FROM live WHERE key = ?", [row[0] as Uint8Array]);
  // The correct key may have been written again or deleted since.
  if (lastVersion(database, key)?.modRevision !== modRevision) return;
  database.run(
    `INSERT OR REPLACE INTO live
     (key, value, create_revision, mod_revision, version, lease, checksum)
     VALUES (?, ?, ?, ?, ?, ?, ?)`,
    [key, value, createRevision, modRevision, version, lease, checksum],
  );
}

const SELECT_LIVE =
  "SELECT key, value, create_revision, mod_revision, version, lease, checksum FROM live";
const SELECT_HISTORY =
  "SELECT key, value, create_revision, revision, version, lease, checksum FROM history";

/** `undefined` for a deleted key. */
function lastVersion(database: Statements, key: Uint8Array): RevisionEntry | undefined {
  const last = `${SELECT_HISTORY} WHERE key = ? ORDER BY revision DESC, sub DESC LIMIT 1`;
  const entry = intactEntry(database, last, [key]);
  return entry?.version === 0n ? undefined : entry;
}

/** For a row whose key is damaged: its revision and checksum identify it. */
function versionOfOtherKey(database: Statements, row: Row): RevisionEntry | undefined {
  const [revision, checksum] = [row[3] as bigint, row[6] as bigint];
  const same = `${SELECT_HISTORY} WHERE revision = ? AND checksum = ? AND version > 0 LIMIT 1`;
  return intactEntry(database, same, [revision, checksum]);
}

function intactEntry(
  database: Statements,
  sql: string,
  values: SQLQueryBindings[],
): RevisionEntry | undefined {
  const [row] = database.rows(sql, values);
  return row !== undefined && isIntact(row) ? entryOf(row) : undefined;
}
