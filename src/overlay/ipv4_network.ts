import type { Prefix } from "../addr/prefix.ts";
import type { NetworkConfig } from "../config/network_config.ts";

/**
 * The network of a backend whose descriptor lists IPv4 alone; the registry has refused any other.
 */
export function ipv4Network({ backend, families }: NetworkConfig): Prefix {
  const network = families[4]?.network;
  if (network === undefined || families[6] !== undefined) {
    throw new Error(`the registry let a network with IPv6 through to the ${backend.type} backend`);
  }
  return network;
}
