/** Addresses of a network that are reserved by the standards. */

import { addressBits, familyOf, formatAddress, type IpAddress } from "./ip.ts";
import { type Prefix, prefixAddress, prefixLength, prefixRange } from "./prefix.ts";

/**
 * The addresses of these networks that no host can have, with a description such as "the broadcast
 * address of 192.0.2.0/24": the network and the broadcast address of an IPv4 network, the
 * Subnet-Router anycast address of an IPv6 network (RFC 4291, section 2.6.1). A network of one or
 * two addresses has none (RFC 3021, RFC 6164).
 */
export function reservedAddresses(networks: readonly Prefix[]): ReadonlyMap<IpAddress, string> {
  const reserved = new Map<IpAddress, string>();
  for (const network of networks) {
    const family = familyOf(network);
    if (prefixLength(network) > addressBits(family) - 2) continue;
    const first = prefixAddress(network);
    if (family === 6) {
      reserved.set(first, `the Subnet-Router anycast address of ${network}`);
      continue;
    }
    reserved.set(first, `the network address of ${network}`);
    reserved.set(
      formatAddress(4, prefixRange(network).last),
      `the broadcast address of ${network}`,
    );
  }
  return reserved;
}
