/** Which of the leases in etcd are this node's, and whether it can keep them. Pure. */

import { entriesOf, type PerFamily, valuesOf } from "../../addr/family.ts";
import { type Family, familyOf, type IpAddress } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import type { NetworkConfig } from "../../config/network_config.ts";
import { subnetsFit } from "../allocation.ts";
import { isInvalidLease } from "../lease_codec.ts";
import type { LeaseQuery, LeaseRequest } from "../lease_store.ts";
import { containExcluded } from "../lease_validation.ts";
import { type LeaseRecord, leasesOverlap } from "./lease_records.ts";
import type { PreviousLease } from "./previous_leases.ts";

/** A lease of this node; one with another address has all fields of `PreviousLease`. */
export type OwnRecord = Pick<PreviousLease, "record" | "guards"> & Partial<PreviousLease>;

/** The family of the address that identifies a node: IPv4 if the network has it. */
export function nodeFamily({ families }: Pick<NetworkConfig, "families">): Family {
  return families[4] === undefined ? 6 : 4;
}

/** The address that identifies this node. */
export function ownAddress({ config, publicAddresses }: LeaseQuery): IpAddress {
  const family = nodeFamily(config);
  const address = publicAddresses[family];
  if (address === undefined) throw new TypeError(`this node has no public IPv${family} address`);
  return address;
}

/** The leases with this node's public address: reservations first, then the oldest. */
export function ownRecords(records: readonly LeaseRecord[], lookup: LeaseQuery): LeaseRecord[] {
  const address = ownAddress(lookup);
  const family = familyOf(address);
  const own = records.filter((record) => {
    if (!mayName(record.value, address)) return false;
    const { lease } = record;
    return !isInvalidLease(lease) && lease.attributes.publicAddresses[family] === address;
  });
  return own.sort((a, b) =>
    Number(b.etcdLease === 0n) - Number(a.etcdLease === 0n) ||
    (a.createRevision < b.createRevision ? -1 : 1)
  );
}

/** An IPv4 address has only one spelling, unless JSON's escapes disguise it. */
function mayName(value: string, address: IpAddress): boolean {
  return familyOf(address) === 6 || value.includes(address) || value.includes("\\");
}

/**
 * Lower is better: a reservation for this node's address, a lease with its device's identity, one
 * in the subnet file, one with its address.
 */
export function preference(
  { record, address, match }: OwnRecord,
  { identity, previousSubnets }: LeaseRequest,
): number {
  const { lease, subnets, etcdLease } = record;
  const isPrevious = match !== undefined;
  if (etcdLease === 0n && !isPrevious) return 0;
  const hasIdentity = isPrevious ||
    !isInvalidLease(lease) && identity?.matchIn(lease.attributes);
  const isKept = isInFile(subnets, previousSubnets);
  return 1 + (hasIdentity ? 0 : 4) + (isKept ? 0 : 2) + (address === undefined ? 0 : 1);
}

/** Whether the subnet file names one of these. */
export function isInFile(subnets: PerFamily<Prefix>, inFile: PerFamily<Prefix>): boolean {
  return entriesOf(subnets).some(([family, subnet]) => subnet === inFile[family]);
}

/** Why this node cannot keep its subnets, after "it"; `undefined` if it can. */
export function whyUnfit(
  record: LeaseRecord,
  others: readonly LeaseRecord[],
  { config, excluded }: LeaseRequest,
): string | undefined {
  if (!subnetsFit(config, record.subnets)) return "does not fit the network configuration";
  if (isShutOut(record, others, config)) return "overlaps an older lease";
  return containExcluded(record.subnets, excluded)
    ? "contains an address that this host uses"
    : undefined;
}

/** Whether the other nodes ignore this lease, because an older one has some of its addresses. */
function isShutOut(
  record: LeaseRecord,
  others: readonly LeaseRecord[],
  config: NetworkConfig,
): boolean {
  return others.some((other) =>
    other.createRevision < record.createRevision && subnetsFit(config, other.subnets) &&
    leasesOverlap(other.subnets, record.subnets)
  );
}

export function subnetText(subnets: PerFamily<Prefix>): string {
  return valuesOf(subnets).join(" and ");
}
