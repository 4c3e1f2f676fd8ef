/**
 * Whether nodes can be reached at a public address. A node checks its own addresses before it
 * advertises them, and the addresses in the leases of other nodes.
 */

import { type Family, type IpAddress, nonUnicastKind } from "../addr/ip.ts";
import { hostPrefix } from "../addr/prefix.ts";
import { type NetworkConfig, overlapsAssignableRange } from "./network_config.ts";

export interface PublicAddressRule {
  /** The overlay networks. */
  readonly config: Pick<NetworkConfig, "families">;
}

/** Why not, to follow "the public address X is"; `undefined` if a node can be reached at it. */
export function publicAddressDefect(
  address: IpAddress,
  family: Family,
  { config }: PublicAddressRule,
): string | undefined {
  const kind = nonUnicastKind(address);
  if (kind !== undefined) return `${/^[aeiuI]/.test(kind) ? "an" : "a"} ${kind} address`;
  const network = config.families[family];
  if (network === undefined) return undefined;
  // A tunnel packet to an address in a node's subnet would be routed into the overlay again. Below
  // SubnetMin and above SubnetMax, a large network may contain hosts.
  return overlapsAssignableRange(network, hostPrefix(address))
    ? `inside the overlay network ${network.network}`
    : undefined;
}
