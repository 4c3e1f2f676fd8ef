/** Addresses of a network that are reserved by the standards. */

import { addressBits, familyOf, formatAddress, type IpAddress } from "./ip.ts";
import { type Prefix, prefixAddress, prefixLength, prefixRange } from "./prefix.ts";

/**
 * The addresses of a network that no host can have, with their names: the network and the broadcast
 * address of an IPv4 network, the Subnet-Router anycast address of an IPv6 network (RFC 4291, section
 * 2.6.1). A network of one or two addresses has none (RFC 3021, RFC 6164).
 */
export function reservedAddresses(network: Prefix): ReadonlyMap<IpAddress, string> {
  const family = familyOf(network);
  if (prefixLength(network) > addressBits(family) - 2) return new Map();
  const first = prefixAddress(network);
  if (family === 6) return new Map([[first, "Subnet-Router anycast address"]]);
  return new Map([
    [first, "network address"],
    [formatAddress(4, prefixRange(network).last), "broadcast address"],
  ]);
}
