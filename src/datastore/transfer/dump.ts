/** All keys of a store at one revision, with the leases they are attached to. */

import { KV, Lease, type RangeResponse } from "../../subnet/etcd/rpc/rpc_pb.ts";
import { DatastoreError } from "../datastore_error.ts";
import type { Entry } from "../entry.ts";
import { singleKey } from "../key_range.ts";
import { forEach } from "./for_each.ts";
import type { Remote } from "./remote.ts";

export interface Dump {
  readonly revision: bigint;
  readonly leases: readonly DumpedLease[];
  readonly entries: readonly DumpedEntry[];
}

export interface DumpedLease {
  readonly id: bigint;
  readonly remainingSeconds: bigint;
}

export type DumpedEntry = Pick<Entry, "key" | "value" | "lease">;

/** The largest values that etcd takes make 150 MiB of it, which both sides hold in memory. */
const PAGE = 100n;
const NO_END = new Uint8Array(1);

/** Reads everything. Keys whose lease has just expired are left out. Throws `DatastoreError`. */
export async function readDump(remote: Remote): Promise<Dump> {
  const { revision, entries } = await readEntries(remote);
  const ids = [...new Set(entries.map(({ lease }) => lease))].filter((id) => id !== 0n);
  const read = await forEach(ids, async (id): Promise<DumpedLease> => {
    const answer = await remote.call("read a lease", Lease.method.leaseTimeToLive, { ID: id });
    return { id, remainingSeconds: answer.TTL };
  });
  const leases = read.filter(({ remainingSeconds }) => remainingSeconds > 0n);
  const alive = new Set(leases.map(({ id }) => id));
  const kept = entries.filter(({ lease }) => lease === 0n || alive.has(lease));
  return { revision, leases, entries: kept };
}

async function readEntries(
  remote: Remote,
): Promise<{ revision: bigint; entries: DumpedEntry[] }> {
  const entries: DumpedEntry[] = [];
  let revision = 0n;
  for (let key: Uint8Array | undefined = new Uint8Array(1); key !== undefined;) {
    const answer: RangeResponse = await remote.call("read all keys", KV.method.range, {
      key,
      rangeEnd: NO_END,
      revision,
      limit: PAGE,
    });
    // All pages are of the first one's revision.
    if (revision === 0n) revision = answer.header?.revision ?? 0n;
    entries.push(...answer.kvs.map(({ key, value, lease }) => ({ key, value, lease })));
    const last = answer.kvs.at(-1);
    if (answer.more && (last === undefined || Buffer.compare(last.key, key) < 0)) {
      throw new DatastoreError(
        `cannot read all keys of ${remote.endpoints}: it has more, and does not give them; ` +
          "check that an etcd answers there",
      );
    }
    key = answer.more && last ? singleKey(last.key).end : undefined;
  }
  return { revision, entries };
}
