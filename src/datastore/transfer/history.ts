/** Finds earlier versions of a key in the history of a store. */

import { isOutOfHistory } from "../../etcd/client/etcd_error.ts";
import { KV } from "../../etcd/api/rpc_pb.ts";
import type { RevisionEntry } from "../mvcc/revision_entry.ts";
import type { DumpedEntry } from "./dump.ts";
import type { RemoteEtcd } from "./remote_etcd.ts";
import { isSame } from "./restore.ts";

/** The keys of a network change a few times a day, and the datastore keeps an hour of history. */
const MAX_VERSIONS = 200;

/**
 * Whether the store held this version of the key before its current one, which is newer then. Does
 * not find versions from before a deletion of the key or before a compaction.
 */
export async function heldEarlier(store: RemoteEtcd, version: DumpedEntry): Promise<boolean> {
  let entry = await entryAt(store, version.key, 0n);
  for (let versions = 0; entry !== undefined && versions < MAX_VERSIONS; versions++) {
    if (entry.version === 1n) return false;
    entry = await entryAt(store, version.key, entry.modRevision - 1n);
    if (isSame(entry, version)) return true;
  }
  return false;
}

/** `revision` 0n: the current one. `undefined` for a missing key and for a compacted revision. */
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
