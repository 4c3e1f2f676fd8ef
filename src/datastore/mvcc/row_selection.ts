/** Which rows to read, as conditions of SQL. */

import type { SQLQueryBindings } from "bun:sqlite";
import type { KeyInterval } from "./key_interval.ts";

/** The keys to read. */
export interface RowSelection {
  readonly range: KeyInterval;
  /** A revision that is not compacted; absent for the current keys. */
  readonly revision?: bigint | undefined;
  readonly limit?: bigint | undefined;
  /** Omits the values. */
  readonly keysOnly?: boolean | undefined;
}

/** How much of the history is read at a time. */
export interface HistoryPageSize {
  readonly changes: number;
  /** Of keys and values. */
  readonly bytes: number;
}

/** A selection in SQL. */
export interface SelectedRows {
  readonly table: string;
  readonly where: string;
  readonly values: SQLQueryBindings[];
  readonly revisionColumn: string;
}

export function rowsOf({ range, revision }: RowSelection): SelectedRows {
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

export function rangeCondition(
  { start, end }: KeyInterval,
): { where: string; values: SQLQueryBindings[] } {
  return end === undefined
    ? { where: "key >= ?", values: [start] }
    : { where: "key >= ? AND key < ?", values: [start, end] };
}

/** Takes the revision twice. A row of version 0 is a deletion. */
const LAST_PUT_UP_TO = `h.version > 0 AND h.revision <= ? AND NOT EXISTS (
  SELECT 1 FROM history AS later WHERE later.key = h.key AND later.revision <= ?
  AND (later.revision, later.sub) > (h.revision, h.sub))`;

/** The revision that the next page begins with; `sizes`: revision and bytes of each change. */
export function pageEnd(
  sizes: readonly [bigint, bigint][],
  page: HistoryPageSize,
): bigint | undefined {
  let bytes = 0n;
  for (const [index, [revision, size]] of sizes.entries()) {
    bytes += size;
    if (index < page.changes && bytes <= page.bytes) continue;
    const first = sizes[0]?.[0] as bigint;
    return revision > first ? revision : first + 1n;
  }
  return undefined;
}
