/** Entries of the node itself that several backends share. */

import { addressBits, type Family, familyOf } from "../addr/ip.ts";
import { type Prefix, prefixAddress } from "../addr/prefix.ts";
import {
  type Address,
  defaultMetric,
  type Route,
  RT_TABLE_MAIN,
  RTPROT_FLANNEL,
  type Sysctl,
} from "../state/resource.ts";
import type { Lease } from "../subnet/lease.ts";

/**
 * The source of packets that the node itself sends into the overlay, so that replies find their way
 * back: the subnet's first address, with a full-length prefix so that the kernel adds no route for
 * it. None without a subnet.
 */
export function nodeAddress(own: Lease, link: string, family: Family): Address[] {
  const subnet = own.subnets[family];
  if (subnet === undefined) return [];
  const address = prefixAddress(subnet);
  return [{ kind: "address", link, address, prefixLength: addressBits(family) }];
}

/**
 * Enables IPv6 on a device. Hosts may disable it for new devices
 * (net.ipv6.conf.default.disable_ipv6), and the kernel would then reject the device's address and
 * routes.
 */
export function ipv6Enabled(link: string): Sysctl {
  return { kind: "sysctl", path: `net/ipv6/conf/${link}/disable_ipv6`, value: "0" };
}

/** The route to the whole overlay by a device that chooses the peer itself. */
export function networkRoute(network: Prefix, link: string): Route {
  const family = familyOf(network);
  return {
    kind: "route",
    type: "unicast",
    destination: network,
    link,
    onlink: false,
    scope: family === 4 ? "link" : "universe", // IPv6 routes have no other scope.
    metric: defaultMetric(family),
    protocol: RTPROT_FLANNEL,
    table: RT_TABLE_MAIN,
  };
}
