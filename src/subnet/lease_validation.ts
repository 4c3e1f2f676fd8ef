/** Whether one lease, seen alone, may be turned into kernel entries. */

import { familiesOf } from "../addr/family.ts";
import type { ExcludedAddress } from "../addr/excluded_address.ts";
import {
  type Prefix,
  prefixContains,
  prefixContainsAddress,
  prefixesOverlap,
  prefixLength,
} from "../addr/prefix.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import { publicAddressDefect } from "../config/public_address_rule.ts";
import { quoted } from "../base/quoting.ts";
import type { Lease } from "./lease.ts";

export interface ValidationRules {
  readonly config: NetworkConfig;
  /** This node's lease: its subnet is nobody else's. */
  readonly own: Pick<Lease, "key" | "subnets">;
  /** What `BackendType` this node writes into its own lease. */
  readonly backendType: string;
  /** Addresses that this host uses outside of the overlay: no other node's subnet may contain one. */
  readonly excluded?: readonly ExcludedAddress[];
  /** Subnets may have any length inside the network, as Kubernetes gives them out. */
  readonly anyLength?: boolean;
}

/**
 * `undefined` if the lease is plausible; otherwise the reason why it is not, to follow "ignoring lease
 * X: ". Families that the network does not have are not looked at.
 */
export function whyInvalid(lease: Lease, rules: ValidationRules): string | undefined {
  const { backendType } = lease.attributes;
  // Exactly, as Go flannel and each backend compare it.
  if (backendType !== rules.backendType) {
    return `its backend is ${quoted(backendType)}, this node's is "${rules.backendType}"`;
  }
  const families = familiesOf(rules.config.families).filter((family) => lease.subnets[family]);
  if (families.length === 0) return "it has no subnet of an address family that is enabled";
  for (const family of families) {
    const subnet = lease.subnets[family] as Prefix;
    const { network, subnetLength } = rules.config.families[family] ?? {};
    if (!prefixContains(network as Prefix, subnet)) {
      return `its subnet ${subnet} is outside the network ${network}`;
    }
    if (!rules.anyLength && prefixLength(subnet) !== subnetLength) {
      return `its subnet ${subnet} is not a /${subnetLength}, as the configuration asks`;
    }
    const own = rules.own.subnets[family];
    if (own !== undefined && prefixesOverlap(own, subnet)) {
      return `its subnet ${subnet} overlaps this node's own ${own}`;
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
  return undefined;
}

/** The first of the addresses that is in the subnet. */
export function excludedAddressIn(
  subnet: Prefix,
  excluded: readonly ExcludedAddress[] = [],
): ExcludedAddress | undefined {
  return excluded.find(({ address }) => prefixContainsAddress(subnet, address));
}
