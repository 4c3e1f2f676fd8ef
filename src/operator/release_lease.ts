/** `flanneld leases release`: deletes a lease or a reservation, unless its node is alive. */

import { valuesOf } from "../addr/family.ts";
import { parsePrefix } from "../addr/prefix.ts";
import { quoted } from "../base/quoting.ts";
import type { LeaseRecord } from "../subnet/etcd/lease_records.ts";
import { isInvalidLease } from "../subnet/lease_codec.ts";
import { isTakenReservation } from "./lease_list.ts";
import { RefusedError } from "./run_operator.ts";
import {
  isReservation,
  leaseUse,
  recordAddress,
  recordName,
  sessionGuards,
} from "./stored_lease.ts";
import { type NetworkStore, readStoredNetwork, storedConfig } from "./stored_network.ts";

export interface ReleaseRequest {
  /** One of its subnets, or its key. */
  readonly subnet: string;
  readonly force: boolean;
}

/** How often it is attempted while the lease keeps changing. */
const ATTEMPTS = 5;

/** Returns what was done, in one line. Throws `RefusedError`, `EtcdError`, the signal's reason. */
export async function releaseLease(
  store: NetworkStore,
  { subnet, force }: ReleaseRequest,
  signal: AbortSignal,
): Promise<string> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const network = await readStoredNetwork(store, signal);
    const record = findLease(network.leases, subnet, store);
    const { lease } = record;
    const isTaken = !isReservation(record) || isInvalidLease(lease) ||
      isTakenReservation(lease, storedConfig(network, store).config);
    const { alive, seen } = await leaseUse({ record, network, isTaken }, store, signal);
    if (alive !== undefined && !force) {
      throw new RefusedError(
        `${describe(record)} is in use: ${alive}; stop flanneld there first, or release ` +
          "it anyway with --force",
      );
    }
    // The node may have started, and the lease may have been renewed as another one, since.
    const guards = force ? [] : sessionGuards(record, network, store);
    const revision = await store.records.delete(lease.key, record.modRevision, signal, guards);
    if (revision === undefined) continue;
    const again = alive === undefined
      ? ""
      : "; a running daemon takes it again at once, as a lease; Go flannel exits";
    return `released ${describe(record)}: ${seen}${again}`;
  }
  throw new RefusedError(`cannot release ${subnet}: it keeps changing; try again`);
}

/** Throws `RefusedError` unless there is exactly one. */
function findLease(
  leases: readonly LeaseRecord[],
  text: string,
  { records, description }: NetworkStore,
): LeaseRecord {
  const exact = leases.find(({ lease }) => lease.key === text);
  if (exact !== undefined) return exact;
  const subnet = parsePrefix(text);
  const found = leases.filter(({ subnets }) =>
    subnet !== undefined && valuesOf(subnets).includes(subnet)
  );
  if (found[0] !== undefined && found.length === 1) return found[0];
  if (found.length > 1) {
    const keys = found.map(({ lease }) => quoted(lease.key, 80)).join(", ");
    throw new RefusedError(`${found.length} leases have ${text}; name one by its key: ${keys}`);
  }
  throw new RefusedError(
    `there is no lease of ${quoted(text, 80)} below ${records.leasePrefix} in ${description}; ` +
      "flanneld leases lists them",
  );
}

function describe(record: LeaseRecord): string {
  const kind = isReservation(record) ? "the reservation" : "the lease";
  const address = recordAddress(record);
  return `${kind} of ${recordName(record)}${address === undefined ? "" : ` for ${address}`}`;
}
