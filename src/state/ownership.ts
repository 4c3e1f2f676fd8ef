/** Which kernel entries belong to this program, present or stale; all others are never touched. */

import { familyOf, isLinkLocal } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import { prefixContains } from "../addr/prefix.ts";
import { linkOf } from "./resource_key.ts";
import {
  type Link,
  type LinkType,
  type Resource,
  type ResourceKind,
  RT_TABLE_MAIN,
  RTPROT_FLANNEL,
  XFRM_REQID,
} from "./resource.ts";

export interface Ownership {
  /** Names of the devices that are this program's; everything on them is. */
  readonly links: ReadonlySet<string>;
  /** The types that those devices may have; one of another type is somebody else's. */
  readonly linkTypes: ReadonlySet<LinkType>;
  /**
   * Routes outside those devices are ours when they carry `RTPROT_FLANNEL` and lie inside one of
   * these networks, whatever device they leave by: the external interface may have been another one
   * before a restart. Two daemons on one host have disjoint networks.
   */
  readonly networks: readonly Prefix[];
  /** The external interface: Go flannel's routes by it may be taken over, see `mayAdopt`. */
  readonly routeLink: string | undefined;
  /**
   * Kinds of entries that only some backends have. They are read only if they are named here. XFRM
   * policies are ours when they carry `XFRM_REQID` and lead from one of `networks` to one of them.
   */
  readonly extraKinds?: readonly ResourceKind[];
  /** UDP ports that are open for FOU on this program's behalf, now or in a former run. */
  readonly fouPorts?: ReadonlySet<number>;
}

const RTPROT_KERNEL = 2; // linux/rtnetlink.h
const RTPROT_BOOT = 3; // linux/rtnetlink.h

/** By what the entry says of itself; `owns` also asks what its device is. */
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
    case "wireguard-device":
    case "wireguard-peer":
      return ownership.links.has(resource.link);
    case "fou":
      return ownership.fouPorts?.has(resource.port) ?? false;
    case "xfrm-policy":
      return resource.tunnel?.reqid === XFRM_REQID && isWithin(resource.source, ownership) &&
        isWithin(resource.destination, ownership);
    case "sysctl":
      return false;
    case "route": {
      if (resource.table !== RT_TABLE_MAIN || resource.protocol === RTPROT_KERNEL) return false;
      const link = linkOf(resource);
      return link !== undefined && ownership.links.has(link) ||
        resource.protocol === RTPROT_FLANNEL && isWithin(resource.destination, ownership);
    }
  }
}

/**
 * `isOurs`, seen with what really holds the device's name: on a foreign device that merely has the
 * name of ours, nothing is ours.
 */
export function owns(
  resource: Resource,
  ownership: Ownership,
  linkNamed: (name: string) => Link | undefined,
): boolean {
  if (!isOurs(resource, ownership)) return false;
  if (resource.kind === "link") return ownership.linkTypes.has(resource.type);
  const name = linkOf(resource);
  if (name === undefined || !ownership.links.has(name)) return true;
  const link = linkNamed(name);
  return link === undefined || ownership.linkTypes.has(link.type);
}

/**
 * Whether a foreign entry may be replaced, though never deleted, because Go flannel made it: its
 * host-gw and direct routes leave by the external interface and say RTPROT_BOOT, like any route
 * that an administrator types, so only one that stands where ours belongs is taken over.
 */
export function mayAdopt(resource: Resource, ownership: Ownership): boolean {
  return resource.kind === "route" && resource.type === "unicast" &&
    resource.table === RT_TABLE_MAIN && resource.protocol === RTPROT_BOOT &&
    resource.link !== undefined && resource.link === ownership.routeLink &&
    isWithin(resource.destination, ownership);
}

function isWithin(prefix: Prefix, ownership: Ownership): boolean {
  return ownership.networks.some((network) => prefixContains(network, prefix));
}
