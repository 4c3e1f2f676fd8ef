/** A key as a row of the database. */

import type { RevisionEntry } from "./revision_entry.ts";

export type Row = readonly (bigint | Uint8Array)[];

/**
 * The entry of a row whose columns start with key, value, create revision, revision, version,
 * lease.
 */
export function entryOf(row: Row): RevisionEntry {
  const [key, value, createRevision, modRevision, version, lease] = row as [
    Uint8Array,
    Uint8Array,
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  return { key, value, createRevision, modRevision, version, lease };
}
