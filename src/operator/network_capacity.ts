/** How many subnets a network has, and how many of them are taken. Pure. */

import { addressBits, addressValue, familyOf } from "../addr/ip.ts";
import { type Prefix, prefixRange } from "../addr/prefix.ts";
import type { FamilyNetwork } from "../config/network_config.ts";

export interface NetworkCapacity {
  readonly total: bigint;
  /** The number of subnets that overlap one of the claims. */
  readonly taken: bigint;
}

/** O(n log n) for n claims, however many subnets there are. */
export function networkCapacity(
  network: FamilyNetwork,
  claims: readonly Prefix[],
): NetworkCapacity {
  const size = 1n << BigInt(addressBits(familyOf(network.network)) - network.subnetLength);
  const first = addressValue(network.subnetMin) / size;
  const last = addressValue(network.subnetMax) / size;
  const intervals = claims.map(prefixRange)
    .map((range) => ({ first: range.first / size, last: range.last / size }))
    .toSorted((a, b) => a.first < b.first ? -1 : 1);
  let taken = 0n;
  let next = first;
  for (const interval of intervals) {
    const from = interval.first > next ? interval.first : next;
    const to = interval.last < last ? interval.last : last;
    if (from > to) continue;
    taken += to - from + 1n;
    next = to + 1n;
  }
  return { total: last - first + 1n, taken };
}
