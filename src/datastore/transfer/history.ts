/** What a store held before, as far back as its history goes. */

import { isOutOfHistory } from "../../etcd/client/etcd_error.ts";
import { KV } from "../../etcd/api/rpc_pb.ts";
import type { RevisionEntry } from "../mvcc/revision_entry.ts";
import type { DumpedEntry } from "./dump.ts";
import type { RemoteEtcd } from "./remote_etcd.ts";
import { isSame } from "./restore.ts";

/** A network's keys change some times a day, and the datastore's history is an hour. */
const MAX_VERSIONS = 200;

/**
 * Whether the store held this version of the key before the one that it holds now, so that the one of
 * now is newer. A version from before the key was deleted, or before a compaction, is not found.
 */
export async function isAhead(store: RemoteEtcd, version: DumpedEntry): Promise<boolean> {
  let entry = await entryAt(store, version.key, 0n);
  for (let passed = 0; entry !== undefined && passed < MAX_VERSIONS; passed++) {
    if (entry.version === 1n) return false;
    entry = await entryAt(store, version.key, entry.modRevision - 1n);
    if (isSame(entry, version)) return true;
  }
  return false;
}

/** `revision` 0n: now. `undefined` for a key that was not there, and for a compacted revision. */
async function entryAt(
  store: RemoteEtcd,
  key: Uint8Array,
  revision: bigint,
): Promise<RevisionEntry | undefined> {
  try {
    return (await store.call("read a key's history", KV.method.range, { key, revision })).kvs[0];
  } catch (error) {
    if (isOutOfHistory((error as Error).cause)) return undefined;
    throw error;
  }
}
