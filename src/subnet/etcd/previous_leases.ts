/**
 * Leases that this node had with another public address.
 *
 * A host whose address changes between two runs (DHCP, `--iface`, `--public-ip`) keeps its
 * device, and with it the MAC address or key that identifies it to the other nodes. A lease with
 * that MAC address or key belongs to this node, unless the session of its address is alive on
 * another host: then one of the two hosts is a copy of the other.
 */

import { addressValue, familyOf, type IpAddress } from "../../addr/ip.ts";
import type { Log } from "../../log/log.ts";
import type { Clock } from "../../base/clock.ts";
import { isInvalidLease } from "../lease_codec.ts";
import type { DeviceIdentity } from "../lease_store.ts";
import type { Etcd, KeyComparison } from "../../etcd/client/etcd.ts";
import { endOfPreviousSession } from "./live_session.ts";
import type { LeaseRecord, LeaseRecords } from "./lease_records.ts";

export interface PreviousLease {
  readonly record: LeaseRecord;
  /** The part of this node's identity in the lease, such as `VtepMAC 02:…`. */
  readonly match: string;
  readonly address: IpAddress | undefined;
  /** Conditions for changing it: no other node has its address. */
  readonly guards: readonly KeyComparison[];
}

/**
 * Two nodes that have swapped their addresses wait for each other. The one with the lower
 * address waits this much longer: when the other one has ended, its address is free.
 */
const EXTRA_WAIT_MS = 5_000;

export interface PreviousLeaseOptions {
  readonly etcd: Etcd;
  readonly records: LeaseRecords;
  readonly clock: Clock;
  readonly log: Log;
  readonly identity: DeviceIdentity;
  /** `LiveNode.identity` of this node. */
  readonly sessionIdentity: string;
  /** The address that identifies this node; other nodes have one of the same family. */
  readonly ownAddress: IpAddress;
}

/**
 * Finds these leases among the candidates, none of which may have this node's address. Waits until
 * it is known whether a node that was alive a moment ago still is; throws `DuplicateNodeError` if
 * so.
 */
export async function previousLeases(
  candidates: readonly LeaseRecord[],
  options: PreviousLeaseOptions,
  signal: AbortSignal,
): Promise<PreviousLease[]> {
  const { etcd, records, clock, log, identity, sessionIdentity, ownAddress } = options;
  const family = familyOf(ownAddress);
  const previous: PreviousLease[] = [];
  for (const record of candidates) {
    if (!mayContain(record.value, identity)) continue;
    const { lease } = record;
    if (isInvalidLease(lease)) continue;
    const match = identity.matchIn(lease.attributes);
    if (match === undefined) continue;
    const address = lease.attributes.publicAddresses[family];
    if (address === undefined) {
      previous.push({ record, match, address, guards: [] });
      continue;
    }
    const guard = await endOfPreviousSession({
      etcd,
      key: records.sessionKey(address),
      clock,
      log,
      ownIdentity: sessionIdentity,
      publicAddress: address,
      lease: lease.key,
      subject: `lease ${lease.key} with this node's ${match}`,
      conflict:
        `its lease ${lease.key} of ${address} has the same ${match} as this node; the other ` +
        "nodes can reach only one of the two; if this host is a copy of that one, " +
        `${identity.remedy} on this host and start flanneld again`,
      extraWaitMs: addressValue(ownAddress) < addressValue(address) ? EXTRA_WAIT_MS : 0,
      // For example, the node that now has that address took another lease and deleted this one.
      // A write of this record then fails, and all leases are read again.
      isConflictGone: async () => {
        const { keyValues } = await etcd.range({ key: records.leaseKey(lease.key) }, signal);
        return keyValues[0]?.modRevision !== record.modRevision;
      },
    }, signal);
    previous.push({ record, match, address, guards: [guard] });
  }
  return previous;
}

/** A quick test, because most leases are other nodes'. JSON's escapes may hide the text. */
function mayContain(value: string, { texts }: DeviceIdentity): boolean {
  return texts.some((text) => value.includes(text)) || value.includes("\\");
}
