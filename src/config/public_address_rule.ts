/**
 * Whether nodes can be reached at a public address. A node checks its own addresses before it
 * advertises them, and the addresses in the leases of other nodes.
 */

import { type Family, type IpAddress, nonUnicastKind } from "../addr/ip.ts";
import { hostPrefix, prefixContainsAddress } from "../addr/prefix.ts";
import { type NetworkConfig, overlapsAssignableRange } from "./network_config.ts";

export interface PublicAddressRule {
  /** The overlay networks. */
  readonly config: Pick<NetworkConfig, "families">;
  /** Subnets may have any length, so any address of the network may be in one. */
  readonly anyLength?: boolean;
}

/** Why not, to follow "the public address X is"; `undefined` if a node can be reached at it. */
export function publicAddressDefect(
  address: IpAddress,
  family: Family,
  { config, anyLength }: PublicAddressRule,
): string | undefined {
  const kind = nonUnicastKind(address);
  if (kind !== undefined) return `${/^[aeiuI]/.test(kind) ? "an" : "a"} ${kind} address`;
  const network = config.families[family];
  if (network === undefined || !prefixContainsAddress(network.network, address)) return undefined;
  // A tunnel packet to an address in a node's subnet would be routed into the overlay again. Below
  // SubnetMin and above SubnetMax, a large network may contain hosts.
  return anyLength || overlapsAssignableRange(network, hostPrefix(address))
    ? `inside the overlay network ${network.network}`
    : undefined;
}
