/** Writes a dump into a store without losing the store's own content. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  Compare_CompareTarget as CompareTarget,
  KV,
  Lease,
  type TxnRequestSchema,
} from "../../etcd/api/rpc_pb.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import type { RevisionEntry } from "../mvcc/revision_entry.ts";
import { compareKeys, keyText } from "../mvcc/key_interval.ts";
import type { Dump, DumpedEntry, DumpedLease } from "./dump.ts";
import { mapConcurrently } from "../../base/map_concurrently.ts";
import type { RemoteEtcd } from "./remote_etcd.ts";

export interface RestoreResult {
  readonly written: number;
  /** Keys that were already present, with the same value. */
  readonly present: number;
}

/**
 * Limits of one transaction: each key needs a comparison and a put, of which etcd allows 128 each,
 * and the request may have 1.5 MiB (`--max-txn-ops`, `--max-request-bytes`).
 */
const BATCH = { keys: 100, bytes: 1 << 20 };
const SHOWN_KEYS = 5;
/** Tolerance: leases are granted in whole seconds, some time after the remaining time was read. */
const LEASE_SLACK_SECONDS = 5n;

/**
 * Grants the leases with their ids and remaining times, and writes the keys. Existing keys with
 * another value or lease are replaced only with `overwrite`; without it, nothing is written then.
 * Throws `DatastoreError`.
 */
export async function restoreDump(
  remote: RemoteEtcd,
  dump: Dump,
  { overwrite }: { overwrite: boolean },
): Promise<RestoreResult> {
  const { present, different } = await compareWith(remote, dump.entries);
  const replaced = different.filter(({ key }) => present.has(keyText(key)));
  if (replaced.length > 0 && !overwrite) {
    throw otherValues(remote, replaced, "nothing was written; ");
  }
  await writeEntries(remote, { entries: different, leases: dump.leases }, present);
  return { written: different.length, present: dump.entries.length - different.length };
}

/** The content of a store, by `keyText`. */
export type Present = ReadonlyMap<string, RevisionEntry>;

/** The store's content for the keys of the entries, and the entries that differ from it. */
export async function compareWith(
  remote: RemoteEtcd,
  entries: readonly DumpedEntry[],
): Promise<{ present: Present; different: readonly DumpedEntry[] }> {
  const present = await readPresent(remote, entries);
  const different = entries.filter((entry) => !isSame(present.get(keyText(entry.key)), entry));
  return { present, different };
}

/**
 * Grants the leases that the entries need, with their remaining times, and writes the entries.
 * Throws `DatastoreError` if the store no longer has the content of `present`.
 */
export async function writeEntries(
  remote: RemoteEtcd,
  { entries, leases }: Pick<Dump, "entries" | "leases">,
  present: Present,
): Promise<void> {
  const used = new Set(entries.map(({ lease }) => lease));
  await mapConcurrently(leases.filter(({ id }) => used.has(id)), (lease) => grant(remote, lease));
  for (const batch of batches(entries)) await writeBatch(remote, batch, present);
}

/** Removes the existing ones of these keys. Throws `DatastoreError` if a value differs. */
export async function removeEntries(
  remote: RemoteEtcd,
  entries: readonly DumpedEntry[],
): Promise<void> {
  // A lease that has expired in one store may also have expired in the other.
  const present = await readPresent(remote, entries);
  const left = entries.filter(({ key }) => present.has(keyText(key)));
  for (const batch of batches(left)) {
    await change(remote, {
      compare: batch.map(({ key, value }) => ({
        key,
        target: CompareTarget.VALUE,
        targetUnion: { case: "value" as const, value },
      })),
      success: batch.map(({ key }) => ({
        request: { case: "requestDeleteRange" as const, value: { key } },
      })),
    });
  }
}

/**
 * Renews the leases that have clearly less time left in the store than in the dump. Returns the new
 * time of each in seconds: the time to live it was granted there, which may still be less.
 */
export async function renewLeases(
  remote: RemoteEtcd,
  leases: readonly DumpedLease[],
): Promise<bigint[]> {
  const renewed = await mapConcurrently(leases, async ({ id, remainingSeconds }) => {
    const left = await timeLeft(remote, id);
    const isShort = left > 0n && left + LEASE_SLACK_SECONDS < remainingSeconds;
    return isShort ? await remote.renewLease(id) : undefined;
  });
  return renewed.filter((seconds) => seconds !== undefined);
}

/** Ids of the leases that have clearly more time left in the store than in the dump. */
export async function outlastedLeases(
  remote: RemoteEtcd,
  leases: readonly DumpedLease[],
): Promise<bigint[]> {
  const compared = await mapConcurrently(leases, async ({ id, remainingSeconds }) => ({
    id,
    isLonger: await timeLeft(remote, id) > remainingSeconds + LEASE_SLACK_SECONDS,
  }));
  return compared.filter(({ isLonger }) => isLonger).map(({ id }) => id);
}

/** The error for keys that may not be replaced. `soFar`: what has been done, for the message. */
export function otherValues(
  { endpoints }: RemoteEtcd,
  entries: readonly DumpedEntry[],
  soFar: string,
): DatastoreError {
  return new DatastoreError(
    `${endpoints} has other values or leases for ${listed(entries)}; ${soFar}` +
      "use --overwrite to replace them",
  );
}

/** The names of some keys, for a message. */
export function listed(entries: readonly DumpedEntry[]): string {
  const names = entries.slice(0, SHOWN_KEYS).map(({ key }) => new TextDecoder().decode(key));
  const rest = entries.length - names.length;
  return names.join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

/** The entries in batches of one transaction each; a single entry may exceed the limit. */
function* batches(entries: readonly DumpedEntry[]): Generator<readonly DumpedEntry[]> {
  let batch: DumpedEntry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    // The comparison contains the key as well.
    const size = 2 * entry.key.length + entry.value.length;
    const isFull = batch.length === BATCH.keys || bytes + size > BATCH.bytes;
    if (isFull && batch.length > 0) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(entry);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

async function readPresent(remote: RemoteEtcd, entries: readonly DumpedEntry[]): Promise<Present> {
  const present = new Map<string, RevisionEntry>();
  for (const batch of batches(entries)) {
    const success = batch.map(({ key }) => ({
      request: { case: "requestRange" as const, value: { key } },
    }));
    const result = await remote.call("read the existing keys", KV.method.txn, { success });
    for (const { response } of result.responses) {
      if (response.case !== "responseRange") continue;
      for (const entry of response.value.kvs) present.set(keyText(entry.key), entry);
    }
  }
  return present;
}

/** Whether value and lease are the same. */
export function isSame(present: DumpedEntry | undefined, { value, lease }: DumpedEntry): boolean {
  return present !== undefined && present.lease === lease &&
    compareKeys(present.value, value) === 0;
}

async function grant(remote: RemoteEtcd, { id, remainingSeconds }: DumpedLease): Promise<void> {
  if (await timeLeft(remote, id) > 0n) return;
  const request = { ID: id, TTL: remainingSeconds };
  await remote.call("grant a lease", Lease.method.leaseGrant, request);
}

/** Seconds; 0n or less if there is no such lease. */
async function timeLeft(remote: RemoteEtcd, id: bigint): Promise<bigint> {
  return (await remote.call("read a lease", Lease.method.leaseTimeToLive, { ID: id })).TTL;
}

/** Throws `DatastoreError` if one of the keys has changed since `before`. */
async function writeBatch(
  remote: RemoteEtcd,
  entries: readonly DumpedEntry[],
  before: Present,
): Promise<void> {
  await change(remote, {
    compare: entries.map(({ key }) => ({
      key,
      target: CompareTarget.MOD,
      targetUnion: {
        case: "modRevision" as const,
        value: before.get(keyText(key))?.modRevision ?? 0n,
      },
    })),
    success: entries.map(({ key, value, lease }) => ({
      request: { case: "requestPut" as const, value: { key, value, lease } },
    })),
  });
}

/** Throws `DatastoreError` if a comparison fails; nothing is written then. */
async function change(
  remote: RemoteEtcd,
  request: MessageInitShape<typeof TxnRequestSchema>,
): Promise<void> {
  const { succeeded } = await remote.call("write keys", KV.method.txn, request);
  if (!succeeded) {
    throw new DatastoreError(
      `another program is writing to ${remote.endpoints} at the same time; run this command again`,
    );
  }
}
