/** Whether one lease is valid, regardless of the others. */

import { type PerFamily, valuesOf } from "../addr/family.ts";
import { FAMILIES } from "../addr/ip.ts";
import type { ExcludedAddress } from "../addr/excluded_address.ts";
import {
  type Prefix,
  prefixContains,
  prefixContainsAddress,
  prefixesOverlap,
  prefixLength,
} from "../addr/prefix.ts";
import type { NetworkConfig, SubnetAllocation } from "../config/network_config.ts";
import { publicAddressDefect } from "../config/public_address_rule.ts";
import { quoted } from "../base/quoting.ts";
import type { Lease } from "./lease.ts";

export interface ValidationRules {
  readonly config: NetworkConfig;
  /** This node's lease: no other lease may overlap it. */
  readonly own: Pick<Lease, "key" | "subnets">;
  /** The `BackendType` of this node's lease. */
  readonly backendType: string;
  /**
   * Addresses that this host uses outside of the overlay; no other node's subnet may contain one.
   */
  readonly excluded?: readonly ExcludedAddress[];
  /**
   * Who chooses the subnets; default `flanneld`. With `kubernetes`, subnets of any length inside
   * the network are valid.
   */
  readonly allocation?: SubnetAllocation;
}

/**
 * Why the lease is invalid, to follow "ignoring lease X: "; `undefined` if it is valid. Families
 * that the network does not have are not checked.
 */
export function whyInvalid(lease: Lease, rules: ValidationRules): string | undefined {
  const { backendType } = lease.attributes;
  // Exactly, as Go flannel and each backend compare it.
  if (backendType !== rules.backendType) {
    return `its backend is ${quoted(backendType)}, this node's is "${rules.backendType}"`;
  }
  let hasSubnet = false;
  for (const family of FAMILIES) {
    const [configured, subnet] = [rules.config.families[family], lease.subnets[family]];
    if (configured === undefined || subnet === undefined) continue;
    hasSubnet = true;
    const { network, subnetLength } = configured;
    if (!prefixContains(network, subnet)) {
      return `its subnet ${subnet} is outside the network ${network}`;
    }
    if (rules.allocation !== "kubernetes" && prefixLength(subnet) !== subnetLength) {
      return `its subnet ${subnet} is not a /${subnetLength}, the configured length`;
    }
    const own = rules.own.subnets[family];
    if (own !== undefined && prefixesOverlap(own, subnet)) {
      return `its subnet ${subnet} overlaps this node's subnet ${own}`;
    }
    const excluded = excludedAddressIn(subnet, rules.excluded);
    if (excluded !== undefined) {
      return `its subnet ${subnet} contains ${excluded.address}, ${excluded.what}`;
    }
    const address = lease.attributes.publicAddresses[family];
    if (address === undefined) return `it has no public IPv${family} address`;
    const defect = publicAddressDefect(address, family, rules);
    if (defect !== undefined) return `its public address ${address} is ${defect}`;
  }
  return hasSubnet ? undefined : "it has no subnet of an enabled address family";
}

/** Whether one of the subnets contains one of the addresses. */
export function containExcluded(
  subnets: PerFamily<Prefix>,
  excluded: readonly ExcludedAddress[] | undefined,
): boolean {
  return valuesOf(subnets).some((subnet) => excludedAddressIn(subnet, excluded) !== undefined);
}

/** The first of the addresses that is in the subnet. */
export function excludedAddressIn(
  subnet: Prefix,
  excluded: readonly ExcludedAddress[] = [],
): ExcludedAddress | undefined {
  return excluded.find(({ address }) => prefixContainsAddress(subnet, address));
}
