/** All keys of a store at one revision, with the leases they are attached to. */

import { Code, ConnectError } from "@connectrpc/connect";
import { KV, Lease, type RangeResponse } from "../../etcd/api/rpc_pb.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import type { RevisionEntry } from "../mvcc/revision_entry.ts";
import { keyAfter } from "../mvcc/key_interval.ts";
import { mapConcurrently } from "./map_concurrently.ts";
import type { RemoteEtcd } from "./remote_etcd.ts";

export interface Dump {
  readonly revision: bigint;
  readonly leases: readonly DumpedLease[];
  readonly entries: readonly DumpedEntry[];
}

export interface DumpedLease {
  readonly id: bigint;
  readonly remainingSeconds: bigint;
}

export type DumpedEntry = Pick<RevisionEntry, "key" | "value" | "lease">;

/** The largest values that etcd takes make 150 MiB of it, which both sides hold in memory. */
const PAGE = 100n;
const NO_END = new Uint8Array(1);

/**
 * Reads everything. Keys whose lease has just expired are left out. Throws `DatastoreError`, also
 * for a damaged key; with `onDamaged`, damaged keys are passed to it and left out.
 */
export async function readDump(
  remote: RemoteEtcd,
  { onDamaged }: { readonly onDamaged?: (key: Uint8Array) => void } = {},
): Promise<Dump> {
  const { revision, entries } = await readEntries(remote, onDamaged);
  const ids = [...new Set(entries.map(({ lease }) => lease))].filter((id) => id !== 0n);
  const read = await mapConcurrently(ids, async (id): Promise<DumpedLease> => {
    const answer = await remote.call("read a lease", Lease.method.leaseTimeToLive, { ID: id });
    return { id, remainingSeconds: answer.TTL };
  });
  const leases = read.filter(({ remainingSeconds }) => remainingSeconds > 0n);
  const alive = new Set(leases.map(({ id }) => id));
  const kept = entries.filter(({ lease }) => lease === 0n || alive.has(lease));
  return { revision, leases, entries: kept };
}

type OnDamaged = ((key: Uint8Array) => void) | undefined;

async function readEntries(
  remote: RemoteEtcd,
  onDamaged: OnDamaged,
): Promise<{ revision: bigint; entries: DumpedEntry[] }> {
  const entries: DumpedEntry[] = [];
  let revision = 0n;
  for (let key: Uint8Array | undefined = new Uint8Array(1); key !== undefined;) {
    const page: Page = { key, rangeEnd: NO_END, revision, limit: PAGE };
    const answer = await readPage(remote, page, onDamaged);
    // All pages are of the first one's revision.
    if (revision === 0n) revision = answer.revision;
    for (const { key, value, lease } of answer.kvs) entries.push({ key, value, lease });
    const { hasMore, next } = answer;
    if (hasMore && (next === undefined || Buffer.compare(next, key) <= 0)) {
      throw new DatastoreError(
        `cannot read all keys of ${remote.endpoints}: the server says that there are more, but does ` +
          "not send them; check that an etcd answers there",
      );
    }
    key = next;
  }
  return { revision, entries };
}

interface Page {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly revision: bigint;
  readonly limit: bigint;
}

interface PageResult {
  readonly kvs: RangeResponse["kvs"];
  readonly revision: bigint;
  readonly hasMore: boolean;
  /** Where the next page begins. */
  readonly next: Uint8Array | undefined;
}

async function readPage(remote: RemoteEtcd, page: Page, onDamaged: OnDamaged): Promise<PageResult> {
  try {
    return pageAnswer(await remote.call("read all keys", KV.method.range, page));
  } catch (error) {
    if (onDamaged === undefined || !isDamage(error)) throw error;
  }
  // One by one, because keys without values can always be read.
  const names = await remote.call("read all keys", KV.method.range, { ...page, keysOnly: true });
  const answer = pageAnswer(names);
  const revision = page.revision === 0n ? answer.revision : page.revision;
  const kvs: PageResult["kvs"] = [];
  for (const { key } of names.kvs) {
    try {
      const { kvs: own } = await remote.call("read a key", KV.method.range, { key, revision });
      kvs.push(...own);
    } catch (error) {
      if (!isDamage(error)) throw error;
      onDamaged(key);
    }
  }
  return { ...answer, kvs };
}

function pageAnswer({ kvs, more, header }: RangeResponse): PageResult {
  const last = kvs.at(-1);
  const next = more && last ? keyAfter(last.key) : undefined;
  return { kvs, revision: header?.revision ?? 0n, hasMore: more, next };
}

/** Whether the store has reported a wrong checksum. */
function isDamage(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ConnectError && cause.code === Code.DataLoss) return true;
  }
  return false;
}
