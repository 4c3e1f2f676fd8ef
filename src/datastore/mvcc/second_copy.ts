/**
 * The last version of each key is stored twice, in `live` and in `history`, each with its checksum:
 * where one of the two is damaged, the other one takes its place.
 */

import type { SQLQueryBindings } from "bun:sqlite";
import { checksumOf } from "./checksum.ts";
import type { RevisionEntry } from "./revision_entry.ts";
import { entryOf, type Row } from "./entry_row.ts";

export type Table = "live" | "history";

/** What is needed of the database. */
export interface Statements {
  rows(sql: string, values: SQLQueryBindings[]): Row[];
  run(sql: string, values: SQLQueryBindings[]): void;
}

/** Whether a row matches its checksum, which follows what `entryOf` reads. */
export function isIntact(row: Row): boolean {
  return row[6] === checksumOf(entryOf(row));
}

/** The undamaged version that a damaged row of a table was; `undefined` if there is no second one. */
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
  // An older version, were the last one lost, would have neither in common.
  const isSame = last !== undefined &&
    (last.modRevision === damaged.modRevision || checksumOf(last) === row[6]);
  return isSame ? last : versionOfOtherKey(database, row);
}

/** Writes a version in the place of the damaged row. */
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
  // Under its right key it may have been written again or deleted since.
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

/** `undefined` for a key that was deleted. */
function lastVersion(database: Statements, key: Uint8Array): RevisionEntry | undefined {
  const last = `${SELECT_HISTORY} WHERE key = ? ORDER BY revision DESC, sub DESC LIMIT 1`;
  const entry = intactEntry(database, last, [key]);
  return entry?.version === 0n ? undefined : entry;
}

/** For a row whose key itself is damaged: its revision and its checksum say which one it was. */
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
