/** `flanneld leases reserve`: a lease that never expires, for the node with a public address. */

import { entriesOf, familiesOf, type PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import { type Prefix, prefixLength } from "../addr/prefix.ts";
import { quoted } from "../base/quoting.ts";
import {
  assignableText,
  type FamilyNetwork,
  type NetworkConfig,
} from "../config/network_config.ts";
import { publicAddressDefect } from "../config/public_address_rule.ts";
import { subnetFits } from "../subnet/allocation.ts";
import { claimedSubnets, type LeaseRecord, leasesOverlap } from "../subnet/etcd/lease_records.ts";
import { nodeFamily } from "../subnet/etcd/own_records.ts";
import type { LeaseKey } from "../subnet/lease.ts";
import { encodeLeaseKey, encodeLeaseValue, isInvalidLease } from "../subnet/lease_codec.ts";
import { RefusedError } from "./run_operator.ts";
import { isReservation, recordName, sessionOfNode, subnetNames } from "./stored_lease.ts";
import {
  type NetworkStore,
  readStoredNetwork,
  storedConfig,
  type StoredNetwork,
} from "./stored_network.ts";

export interface ReserveRequest {
  readonly subnets: PerFamily<Prefix>;
  readonly addresses: PerFamily<IpAddress>;
}

/** How often it is attempted while the leases keep changing. */
const ATTEMPTS = 5;

/**
 * Returns what was done, and what it means for the node, a line each. Throws `RefusedError`,
 * `EtcdError`, and the signal's reason.
 */
export async function reserveSubnet(
  store: NetworkStore,
  request: ReserveRequest,
  signal: AbortSignal,
): Promise<string[]> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const network = await readStoredNetwork(store, signal);
    const config = requireConfig(network, store);
    const problem = requestProblem(request, config);
    if (problem !== undefined) throw new RefusedError(problem);
    const { subnets, addresses } = request;
    const done = await reserveOnce({ store, network, config, subnets, addresses }, signal);
    if (done !== undefined) return done;
  }
  throw new RefusedError(
    `cannot reserve ${subnetNames(request.subnets)}: the leases keep changing; try again`,
  );
}

/** A reservation that no node could take would only take the subnet away from the others. */
function requireConfig(network: StoredNetwork, store: NetworkStore): NetworkConfig {
  const { config, problem } = storedConfig(network, store);
  if (config !== undefined) return config;
  throw new RefusedError(`cannot check the subnet: ${problem}`);
}

/** Why no node could take the reservation; `undefined` if one can. */
export function requestProblem(
  { subnets, addresses }: ReserveRequest,
  config: NetworkConfig,
): string | undefined {
  for (const [family, network] of entriesOf(config.families)) {
    const subnet = subnets[family];
    if (subnet === undefined) {
      return `the network has IPv${family} (${network.network}); add a subnet of it, after a comma`;
    }
    if (!subnetFits(network, subnet)) return `${subnet} ${whyUnfit(network, subnet)}`;
  }
  const extra = [...familiesOf(subnets), ...familiesOf(addresses)].find((family) =>
    config.families[family] === undefined
  );
  if (extra !== undefined) {
    return `the network has no IPv${extra}; omit ${subnets[extra] ?? addresses[extra]}`;
  }
  const family = nodeFamily(config);
  if (addresses[family] === undefined) {
    return `a node of this network is known by its public IPv${family} address; give that one`;
  }
  for (const [family, address] of entriesOf(addresses)) {
    const defect = publicAddressDefect(address, family, { config });
    if (defect !== undefined) return `the public address ${address} is ${defect}`;
  }
  return undefined;
}

function whyUnfit(network: FamilyNetwork, subnet: Prefix): string {
  const { subnetLength } = network;
  return prefixLength(subnet) === subnetLength
    ? `is not one of the subnets of the network, ${assignableText(network)}`
    : `is not a /${subnetLength}, the length of the subnets of the network`;
}

interface Attempt extends ReserveRequest {
  readonly store: NetworkStore;
  readonly network: StoredNetwork;
  readonly config: NetworkConfig;
}

/** `undefined` if another program has changed the leases since they were read. */
async function reserveOnce(attempt: Attempt, signal: AbortSignal): Promise<string[] | undefined> {
  const { store: { records }, network, config, subnets, addresses } = attempt;
  const key = encodeLeaseKey(subnets);
  const address = addresses[nodeFamily(config)];
  const holder = network.leases.find((record) => holds(record, key));
  const others = network.leases.filter((record) => !holds(record, key));
  const ownElsewhere = others.filter((record) => addressOf(record, config) === address);
  const reserved = ownElsewhere.find(isReservation);
  if (reserved !== undefined) {
    throw new RefusedError(
      `${recordName(reserved)} is already reserved for ${address}, and a node takes only one; ` +
        `release that first: flanneld leases release ${quotedKey(reserved)}`,
    );
  }
  const done = [`reserved ${subnetNames(subnets)} for ${address}`];
  if (holder !== undefined) {
    if (addressOf(holder, config) !== address) throw inUse(holder, attempt);
    if (isReservation(holder)) {
      return [`${subnetNames(subnets)} is already reserved for ${address}`];
    }
    const write = { key, value: holder.value, etcdLease: 0n };
    const revision = await records.replace(write, holder.modRevision, signal);
    return revision === undefined
      ? undefined
      : [...done, "its node has it and keeps it; the lease no longer expires"];
  }
  const rival = others.find((record) =>
    leasesOverlap(claimedSubnets(record, config.families), subnets)
  );
  if (rival !== undefined) throw inUse(rival, attempt);
  const value = encodeLeaseValue({ publicAddresses: addresses, backendType: "", backendData: {} });
  const creation = await records.create({ key, value, etcdLease: 0n }, config.families, signal);
  if (creation.kind === "created") return [...done, ...consequences(ownElsewhere, attempt)];
  // The other one is older. It may have gone since, so that the next attempt decides.
  if (creation.kind === "overlaps") await records.delete(key, creation.revision, signal);
  return undefined;
}

function holds({ lease }: LeaseRecord, key: LeaseKey): boolean {
  return lease.key === key;
}

function addressOf({ lease }: LeaseRecord, config: NetworkConfig): IpAddress | undefined {
  return isInvalidLease(lease) ? undefined : lease.attributes.publicAddresses[nodeFamily(config)];
}

function inUse(record: LeaseRecord, { config, network }: Attempt): RefusedError {
  const address = addressOf(record, config);
  const hostname = sessionOfNode(record, network)?.hostname;
  const kind = isReservation(record) ? "reserved for" : "leased to";
  const node = address === undefined
    ? "a node without a valid public address"
    : `${address}${hostname === undefined ? "" : ` (host ${quoted(hostname)}, which is alive)`}`;
  return new RefusedError(
    `${recordName(record)} is ${kind} ${node}; choose another subnet, or release it first: ` +
      `flanneld leases release ${quotedKey(record)}`,
  );
}

/** As one word of a shell: a key of two subnets contains `&`. */
function quotedKey({ lease: { key }, subnets }: LeaseRecord): string {
  return subnets[4] ?? subnets[6] ?? quoted(key, 80);
}

/** What happens to the node, which has another subnet now. */
function consequences(own: readonly LeaseRecord[], { network }: Attempt): string[] {
  return own.map((record) => {
    const hostname = sessionOfNode(record, network)?.hostname;
    const node = hostname === undefined ? "its node" : `its node, ${quoted(hostname)},`;
    return `${node} has ${recordName(record)} until flanneld is restarted there; its workloads ` +
      "then need new addresses";
  });
}
