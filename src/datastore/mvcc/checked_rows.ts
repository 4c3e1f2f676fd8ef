/** Reads rows with their checksums, and restores damaged rows from their second copy. */

import { entryOf, type Row } from "./entry_row.ts";
import { compareKeys, keyText } from "./key_interval.ts";
import { RequestError } from "./request_error.ts";
import type { RevisionEntry } from "./revision_entry.ts";
import { isIntact, secondCopy, type Table, writeCopy } from "./second_copy.ts";
import type { StorageConnection } from "./storage_connection.ts";

/** The rows that `read` returns, with damaged ones restored. Throws `RequestError` "dataLoss". */
export function checkedRows(
  connection: StorageConnection,
  table: Table,
  read: () => Row[],
): RevisionEntry[] {
  const rows = read();
  const damaged = rows.filter((row) => !isIntact(row));
  if (damaged.length === 0) return rows.map(entryOf);
  const copies = new Map(damaged.map((row) => [row, restore(connection, table, row)]));
  const isMoved = damaged.some((row) =>
    compareKeys(row[0] as Uint8Array, copies.get(row)?.key ?? NO_KEY) !== 0
  );
  // The range may hold other keys now, or the same keys in another order.
  if (isMoved) return read().map((row) => isIntact(row) ? entryOf(row) : lost(connection, row));
  return rows.map((row) => copies.get(row) ?? entryOf(row));
}

/** Returns the undamaged row. On a full disk it is returned, but not written. */
function restore(connection: StorageConnection, table: Table, row: Row): RevisionEntry {
  const copy = secondCopy(connection, table, row);
  if (copy === undefined) lost(connection, row);
  const write = () => writeCopy(connection, table, row, copy);
  try {
    if (connection.inTransaction) write();
    else connection.transaction(write);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
  }
  connection.events.restored(placeOf(row));
  return copy;
}

function lost(connection: StorageConnection, row: Row): never {
  const place = placeOf(row);
  connection.events.damaged(place);
  throw new RequestError("dataLoss", { detail: `: ${place} is damaged` });
}

/** Key and revision of the row, which may themselves be damaged. */
function placeOf(row: Row): string {
  const { key, modRevision } = entryOf(row);
  return `key ${JSON.stringify(keyText(key))} of revision ${modRevision}`;
}

const NO_KEY = new Uint8Array();
