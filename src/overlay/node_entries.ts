/** Entries of the node itself that several backends have. */

import { addressBits, type Family, familyOf } from "../addr/ip.ts";
import { type Prefix, prefixAddress } from "../addr/prefix.ts";
import {
  type Address,
  type Route,
  RT_TABLE_MAIN,
  RTPROT_FLANNEL,
  type Sysctl,
} from "../state/resource.ts";
import type { Lease } from "../subnet/lease.ts";
import { defaultMetric } from "./peer_route.ts";

/**
 * The source of packets that the node itself sends into the overlay, so that the answers find the way
 * back: its subnet's first address, alone, so that no route comes with it. None without a subnet.
 */
export function nodeAddress(own: Lease, link: string, family: Family): Address[] {
  const subnet = own.subnets[family];
  if (subnet === undefined) return [];
  const address = prefixAddress(subnet);
  return [{ kind: "address", link, address, prefixLength: addressBits(family) }];
}

/**
 * Enables IPv6 on a device, because the host may disable it for new devices
 * (net.ipv6.conf.default.disable_ipv6): the kernel would refuse the device's address and routes.
 */
export function ipv6Enabled(link: string): Sysctl {
  return { kind: "sysctl", path: `net/ipv6/conf/${link}/disable_ipv6`, value: "0" };
}

/** The route of a device that takes in all of the overlay and finds the peers by itself. */
export function networkRoute(network: Prefix, link: string): Route {
  const family = familyOf(network);
  return {
    kind: "route",
    type: "unicast",
    destination: network,
    link,
    onlink: false,
    scope: family === 4 ? "link" : "universe", // IPv6 knows universe only
    metric: defaultMetric(family),
    protocol: RTPROT_FLANNEL,
    table: RT_TABLE_MAIN,
  };
}
