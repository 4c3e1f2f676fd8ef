/** Which kernel entries belong to this program, present or stale; all others are never touched. */

import { familyOf, isLinkLocal } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import { prefixContains } from "../addr/prefix.ts";
import { type Resource, RT_TABLE_MAIN, RTPROT_FLANNEL } from "./resource.ts";

export interface Ownership {
  /** Names of the devices that are this program's; everything on them is. */
  readonly links: ReadonlySet<string>;
  /**
   * Routes outside those devices are ours when they carry `RTPROT_FLANNEL`, lie inside one of these
   * networks and leave by this device (a blackhole: by none). Two daemons on one host have disjoint networks.
   */
  readonly networks: readonly Prefix[];
  readonly routeLink: string | undefined;
}

const RTPROT_KERNEL = 2; // linux/rtnetlink.h

/** A link is owned by name, but only one of our type is ever recreated; see `plan`. */
export function isOurs(resource: Resource, ownership: Ownership): boolean {
  switch (resource.kind) {
    case "link":
      return ownership.links.has(resource.name);
    case "address":
      // The kernel gives an IPv6 device its link-local address by itself.
      return ownership.links.has(resource.link) &&
        !(familyOf(resource.address) === 6 && isLinkLocal(resource.address));
    case "neighbour":
    case "fdb":
      return ownership.links.has(resource.link);
    case "sysctl":
      return false;
    case "route":
      return resource.table === RT_TABLE_MAIN && resource.protocol !== RTPROT_KERNEL &&
        (resource.link !== undefined && ownership.links.has(resource.link) ||
          resource.protocol === RTPROT_FLANNEL &&
            (resource.link === undefined || resource.link === ownership.routeLink) &&
            ownership.networks.some((network) => prefixContains(network, resource.destination)));
  }
}
