/** Reads all keys of a store at one revision, with their leases. */

import { KV, Lease, type RangeResponse } from "../../etcd/api/rpc_pb.ts";
import { Code, GrpcError } from "../../etcd/client/grpc_error.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import type { RevisionEntry } from "../mvcc/revision_entry.ts";
import { keyAfter } from "../mvcc/key_interval.ts";
import { mapConcurrently } from "../../base/map_concurrently.ts";
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

/**
 * Keys at a time: with the largest values that etcd accepts, 150 MiB in the memory of both sides.
 */
const PAGE = 100n;
const NO_END = new Uint8Array(1);

/**
 * Reads everything, except keys whose lease has just expired. Throws `DatastoreError`, also for a
 * damaged key; with `onDamaged`, damaged keys are omitted and passed to it.
 */
export async function readDump(
  remote: RemoteEtcd,
  { onDamaged }: { readonly onDamaged?: (key: Uint8Array) => void } = {},
): Promise<Dump> {
  const { revision, entries } = await readEntries(remote, onDamaged);
  const ids = [...new Set(entries.map(({ lease }) => lease))].filter((id) => id !== 0n);
  const read = await mapConcurrently(ids, async (id): Promise<DumpedLease> => {
    const response = await remote.call("read a lease", Lease.method.leaseTimeToLive, { ID: id });
    return { id, remainingSeconds: response.TTL };
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
    const result = await readPage(remote, page, onDamaged);
    // All pages have the revision of the first one.
    if (revision === 0n) revision = result.revision;
    for (const { key, value, lease } of result.kvs) entries.push({ key, value, lease });
    const { hasMore, next } = result;
    if (hasMore && (next === undefined || Buffer.compare(next, key) <= 0)) {
      throw new DatastoreError(
        `cannot read all keys of ${remote.endpoints}: the server reports more keys but does not ` +
          "send them; check that it is an etcd",
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
  /** First key of the next page. */
  readonly next: Uint8Array | undefined;
}

async function readPage(remote: RemoteEtcd, page: Page, onDamaged: OnDamaged): Promise<PageResult> {
  try {
    return pageResult(await remote.call("read all keys", KV.method.range, page));
  } catch (error) {
    if (onDamaged === undefined || !isDamage(error)) throw error;
  }
  // Read the keys without values, which is always possible, then each key alone.
  const names = await remote.call("read all keys", KV.method.range, { ...page, keysOnly: true });
  const result = pageResult(names);
  const revision = page.revision === 0n ? result.revision : page.revision;
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
  return { ...result, kvs };
}

function pageResult({ kvs, more, header }: RangeResponse): PageResult {
  const last = kvs.at(-1);
  const next = more && last ? keyAfter(last.key) : undefined;
  return { kvs, revision: header?.revision ?? 0n, hasMore: more, next };
}

/** Whether the store reported damage. */
function isDamage(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof GrpcError && cause.code === Code.DataLoss) return true;
  }
  return false;
}
