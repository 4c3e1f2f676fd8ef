/** The choice of a free subnet. Pure: taken subnets and randomness are arguments. */

import { familiesOf, mapFamilies, type PerFamily } from "../addr/family.ts";
import { addressBits, addressValue, FAMILIES, familyOf, formatAddress } from "../addr/ip.ts";
import {
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixContains,
  prefixLength,
  type PrefixRange,
  prefixRange,
} from "../addr/prefix.ts";
import type { FamilyNetwork, NetworkConfig } from "../config/network_config.ts";

/** Nodes that start at the same time choose among this many, so two seldom choose the same one. */
const ALLOCATION_CHOICES = 100;

/**
 * A random one of the first hundred free subnets from SubnetMin to SubnetMax, for each family of
 * the configuration separately; `undefined` if a family has none left. O(n log n) for n taken
 * subnets.
 *
 * A subnet is free if it overlaps none in `taken`, except those that cover the whole network: no
 * node can have one, and it would leave no subnet free.
 */
export function allocateSubnets(
  families: PerFamily<FamilyNetwork>,
  taken: Iterable<PerFamily<Prefix>>,
  /** An integer from 0 to `limit` - 1, all equally likely. */
  randomIndex: (limit: number) => number,
): PerFamily<Prefix> | undefined {
  const all = [...taken];
  const chosen = mapFamilies(families, (network, family) => {
    const claimed = all.map((subnets) => subnets[family])
      .filter((subnet): subnet is Prefix =>
        subnet !== undefined && !prefixContains(subnet, network.network)
      );
    const free = firstFree(network, claimed.map(prefixRange), ALLOCATION_CHOICES);
    return free.length === 0 ? undefined : free[randomIndex(free.length)];
  });
  return familiesOf(families).every((family) => chosen[family]) ? chosen : undefined;
}

/** Whether a node may hold these subnets: exactly one of each enabled family, and each fits. */
export function subnetsFit(config: NetworkConfig, subnets: PerFamily<Prefix>): boolean {
  return FAMILIES.every((family) => {
    const [network, subnet] = [config.families[family], subnets[family]];
    return network === undefined || subnet === undefined
      ? network === subnet
      : subnetFits(network, subnet);
  });
}

/** Whether a subnet of the network's family has the configured length and is between the limits. */
export function subnetFits(network: FamilyNetwork, subnet: Prefix): boolean {
  const first = addressValue(prefixAddress(subnet));
  return prefixLength(subnet) === network.subnetLength &&
    first >= addressValue(network.subnetMin) && first <= addressValue(network.subnetMax);
}

/** The first `limit` subnets that overlap none of the ranges. */
function firstFree(network: FamilyNetwork, taken: PrefixRange[], limit: number): Prefix[] {
  const family = familyOf(network.network);
  const size = 1n << BigInt(addressBits(family) - network.subnetLength);
  const last = addressValue(network.subnetMax);
  const sorted = taken.sort((a, b) => Number(a.first - b.first));
  const free: Prefix[] = [];
  let candidate = addressValue(network.subnetMin);
  let next = 0;
  while (candidate <= last && free.length < limit) {
    const range = sorted[next];
    if (range === undefined || range.first >= candidate + size) {
      free.push(makePrefix(formatAddress(family, candidate), network.subnetLength));
      candidate += size;
    } else {
      if (range.last >= candidate) candidate = (range.last / size + 1n) * size;
      next++;
    }
  }
  return free;
}
