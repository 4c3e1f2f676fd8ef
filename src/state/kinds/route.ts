/** A route. */

import { type Family, familyOf, type IpAddress } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import {
  type EntryKind,
  isInNetworks,
  type OwnershipCriteria,
  type ResourceKey,
  STAGE,
} from "./entry_kind.ts";

export interface Route {
  readonly kind: "route";
  readonly type: "unicast" | "blackhole";
  readonly destination: Prefix;
  /** Device of the next hop; absent for a blackhole. */
  readonly link?: string;
  readonly gateway?: IpAddress;
  /** RTNH_F_ONLINK: the gateway is on the link although no route says so. */
  readonly onlink: boolean;
  /** Preferred source address. */
  readonly source?: IpAddress;
  /** RT_SCOPE_*: link when there is no gateway, otherwise universe. IPv6 knows universe only. */
  readonly scope: "universe" | "link";
  /** Priority; the kernel reads IPv6's 0 as 1024, so a desired IPv6 route says 1024. */
  readonly metric: number;
  /** RTPROT_*, the program that created the route. */
  readonly protocol: number;
  /** Routing table; 254 is main. */
  readonly table: number;
  /** More than one next hop, as read from the kernel. Ours have one. */
  readonly multipath?: boolean;
}

/** Routing protocol number of this program's routes. Free in iproute2's rt_protos. */
export const RTPROT_FLANNEL = 70;
export const RT_TABLE_MAIN = 254; // linux/rtnetlink.h
export const RTPROT_KERNEL = 2; // linux/rtnetlink.h
const RTPROT_BOOT = 3; // linux/rtnetlink.h

/** The metric of a route added without one; IPv6: IP6_RT_PRIO_USER, net/ip6_fib.h. */
export function defaultMetric(family: Family): number {
  return family === 4 ? 0 : 1024;
}

export const routeKind: EntryKind<Route> = {
  // The type of service is always 0 here.
  key: ({ destination, metric, table }) => `route ${destination} ${metric} ${table}` as ResourceKey,
  text: routeText,
  isSame: isSameRoute,
  // The kernel shows an IPv6 blackhole with the loopback device.
  linkOf: ({ type, link }) => type === "blackhole" ? undefined : link,
  isOurs,
  mayAdopt,
  stage: STAGE.route,
  foreign: "conflicts",
  isExclusive: true,
  needsLinkUp: true,
  dump: { extent: "table", when: "always" },
};

function isSameRoute(desired: Route, actual: Route): boolean {
  const isSame = desired.type === actual.type && desired.destination === actual.destination &&
    desired.metric === actual.metric && desired.protocol === actual.protocol &&
    desired.table === actual.table && !desired.multipath === !actual.multipath;
  // The kernel shows an IPv6 blackhole with the loopback device, and its scope says nothing.
  if (!isSame || desired.type === "blackhole") return isSame;
  return desired.link === actual.link && desired.gateway === actual.gateway &&
    desired.onlink === actual.onlink && desired.source === actual.source &&
    desired.scope === actual.scope;
}

function isOurs(route: Route, criteria: OwnershipCriteria): boolean {
  if (route.table !== RT_TABLE_MAIN || route.protocol === RTPROT_KERNEL) return false;
  const link = routeKind.linkOf(route);
  return link !== undefined && criteria.links.has(link) ||
    route.protocol === RTPROT_FLANNEL && isInNetworks(route.destination, criteria);
}

/**
 * Go flannel's host-gw and direct routes leave by the external interface and carry RTPROT_BOOT. So
 * does any route that an administrator types, and only one in the place of ours is adopted.
 */
function mayAdopt(route: Route, criteria: OwnershipCriteria): boolean {
  return route.type === "unicast" && route.table === RT_TABLE_MAIN &&
    route.protocol === RTPROT_BOOT &&
    route.link !== undefined && route.link === criteria.routeLink &&
    isInNetworks(route.destination, criteria);
}

function routeText(route: Route): string {
  const words = ["route"];
  if (route.type === "blackhole") words.push("blackhole");
  words.push(route.destination);
  if (route.gateway !== undefined) words.push("via", route.gateway);
  if (route.link !== undefined && route.type !== "blackhole") words.push("dev", route.link);
  if (route.multipath) words.push("multipath");
  words.push("proto", String(route.protocol));
  if (route.scope === "link") words.push("scope", "link");
  if (route.source !== undefined) words.push("src", route.source);
  const withoutMetric = defaultMetric(familyOf(route.destination));
  if (route.metric !== withoutMetric) words.push("metric", String(route.metric));
  if (route.onlink) words.push("onlink");
  if (route.table !== RT_TABLE_MAIN) words.push("table", String(route.table));
  return words.join(" ");
}
