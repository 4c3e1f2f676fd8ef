/** The leases in etcd or in a datastore. */

import { mapConcurrently } from "../base/map_concurrently.ts";
import type { LeaseRecord } from "../subnet/etcd/lease_records.ts";
import { isInvalidLease } from "../subnet/lease_codec.ts";
import { ignoredLeases, type LeaseList, type ListedLease, sortedLeases } from "./lease_list.ts";
import { isReservation, sessionOfNode } from "./stored_lease.ts";
import { type NetworkStore, readStoredNetwork, storedConfig } from "./stored_network.ts";

/** Throws `EtcdError`, or the signal's reason. */
export async function listEtcdLeases(
  store: NetworkStore,
  signal: AbortSignal,
): Promise<LeaseList> {
  const network = await readStoredNetwork(store, signal);
  const { config, problem } = storedConfig(network, store);
  const decoded = network.leases.map(({ lease }) => lease);
  const ignored = config && ignoredLeases(decoded, config, "flanneld");
  const remaining = await remainingSeconds(store, network.leases, signal);
  const leases = network.leases.map((record): ListedLease => {
    const { lease, subnets } = record;
    const attributes = isInvalidLease(lease) ? undefined : lease.attributes;
    const session = sessionOfNode(record, network);
    return {
      key: lease.key,
      subnets,
      publicAddresses: attributes?.publicAddresses ?? {},
      backend: attributes?.backendType,
      kind: isReservation(record) ? "reservation" : "lease",
      remainingSeconds: remaining.get(record.etcdLease),
      host: session?.hostname,
      alive: network.sessions && session?.hostname !== undefined,
      ignored: isInvalidLease(lease) ? lease.reason : ignored?.get(lease.key),
    };
  });
  return {
    store: store.description,
    // It has expired since it was listed.
    leases: sortedLeases(leases).filter(({ remainingSeconds = 0 }) => remainingSeconds >= 0),
    notes: [
      ...(problem === undefined ? [] : [`the leases are not checked: ${problem}`]),
      ...(network.sessions === undefined
        ? [
          `hosts are unknown: etcd denies read access to ${store.records.sessionPrefix}; grant ` +
          "the etcd role read access there",
        ]
        : []),
    ],
  };
}

/** By the ID of the etcd lease; negative for one that no longer exists. */
async function remainingSeconds(
  { etcd }: NetworkStore,
  records: readonly LeaseRecord[],
  signal: AbortSignal,
): Promise<ReadonlyMap<bigint, number>> {
  const expiring = records.filter((record) => !isReservation(record));
  const ids = [...new Set(expiring.map(({ etcdLease }) => etcdLease))];
  return new Map(
    await mapConcurrently(ids, async (id): Promise<[bigint, number]> => {
      return [id, (await etcd.leaseTimeToLive(id, signal)).remainingSeconds];
    }),
  );
}
