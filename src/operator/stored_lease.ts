/** One lease in the store, in the words of an operator, and whether its node is alive. */

import { type PerFamily, valuesOf } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import { printableName, quoted } from "../base/quoting.ts";
import type { KeyComparison } from "../etcd/client/etcd.ts";
import { durationText } from "../log/repeated_failure.ts";
import type { LeaseRecord } from "../subnet/etcd/lease_records.ts";
import { nodeAddressOf } from "../subnet/lease.ts";
import { isInvalidLease } from "../subnet/lease_codec.ts";
import type { NetworkStore, StoredNetwork, StoredSession } from "./stored_network.ts";

/** Such as `10.5.7.0/24`, or the key if it names no subnet. */
export function recordName({ lease, subnets }: LeaseRecord): string {
  return subnetNames(subnets) || `the key ${quoted(lease.key)}`;
}

export function subnetNames(subnets: PerFamily<Prefix>): string {
  return valuesOf(subnets).join(" and ");
}

/** The address by which its node is known. */
export function recordAddress({ lease }: LeaseRecord): IpAddress | undefined {
  return isInvalidLease(lease) ? undefined : nodeAddressOf(lease);
}

export function isReservation({ etcdLease }: LeaseRecord): boolean {
  return etcdLease === 0n;
}

/** The session of its node. */
export function sessionOfNode(
  record: LeaseRecord,
  { sessions }: Pick<StoredNetwork, "sessions">,
): StoredSession | undefined {
  const address = recordAddress(record);
  return address && sessions?.get(address);
}

/** Whether its node uses it, as far as the store shows. */
export interface LeaseUse {
  /** What shows that its node is alive, as a clause; `undefined` if nothing does. */
  readonly alive: string | undefined;
  /** What is known of a node that seems to have ended, as a clause. */
  readonly seen: string;
}

/** A renewal is recent if it was made within an hour. */
const RECENT_SECONDS = 3_600;

/** Throws `EtcdError`, or the signal's reason. */
export async function leaseUse(
  { record, network, isTaken }: {
    readonly record: LeaseRecord;
    readonly network: StoredNetwork;
    /** False for a reservation that no node has taken: its node may live with another subnet. */
    readonly isTaken: boolean;
  },
  { etcd, records }: NetworkStore,
  signal: AbortSignal,
): Promise<LeaseUse> {
  if (!isTaken) return { alive: undefined, seen: "no node has taken it" };
  const address = recordAddress(record);
  const hostname = sessionOfNode(record, network)?.hostname;
  if (address !== undefined && hostname !== undefined) {
    const key = records.sessionKey(address);
    const alive = `the host ${printableName(hostname)} is alive (its session is ${key})`;
    return { alive, seen: alive };
  }
  const session = network.sessions === undefined
    ? `sessions cannot be read (etcd denies access to ${records.sessionPrefix})`
    : address === undefined
    ? "it names no node that could be alive"
    : "its node has no session";
  if (isReservation(record)) return { alive: undefined, seen: session };
  const { remainingSeconds, grantedSeconds } = await etcd.leaseTimeToLive(record.etcdLease, signal);
  if (remainingSeconds < 0) return { alive: undefined, seen: "it has expired" };
  const elapsedSeconds = Math.max(0, grantedSeconds - remainingSeconds);
  const seen = `${session}, and it was renewed ${durationText(elapsedSeconds * 1000)} ago`;
  return { alive: elapsedSeconds < RECENT_SECONDS ? seen : undefined, seen };
}

/** Conditions that hold while its node is as it was read: no other one has started since. */
export function sessionGuards(
  record: LeaseRecord,
  network: StoredNetwork,
  { records }: NetworkStore,
): KeyComparison[] {
  const address = recordAddress(record);
  if (address === undefined || network.sessions === undefined) return [];
  const key = records.sessionKey(address);
  const modRevision = network.sessions.get(address)?.modRevision;
  return [modRevision === undefined ? { key, createRevision: 0n } : { key, modRevision }];
}
