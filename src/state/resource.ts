/**
 * What the kernel holds, one value per entry.
 *
 * A desired state and an actual state are both maps from `resourceKey` to `Resource`, so that
 * comparing them is a comparison of values, key by key. A device is named, never numbered: the
 * interface index belongs to the kernel's answer, and a name survives the device's recreation.
 */

import type { IpAddress } from "../addr/ip.ts";
import type { MacAddress } from "../addr/mac.ts";
import type { Prefix } from "../addr/prefix.ts";

export type Resource = Link | Address | Neighbour | FdbEntry | Route | Sysctl;
export type ResourceKind = Resource["kind"];

/** Canonical text that identifies an entry in its table; see `resourceKey`. */
export type ResourceKey = string & { readonly __resourceKey: true };

/** A network device. Attributes that cannot be changed in place are those of its `type`. */
export type Link = VxlanLink | OtherLink;

interface LinkBase {
  readonly kind: "link";
  readonly name: string;
  readonly mtuBytes: number;
  readonly mac: MacAddress;
  /** IFF_UP, the administrative state. */
  readonly up: boolean;
}

/** linux/if_link.h, IFLA_VXLAN_*. */
export interface VxlanLink extends LinkBase {
  readonly type: "vxlan";
  readonly vni: number;
  /** Source address of the outer packets. */
  readonly local: IpAddress;
  /** Name of the device that carries the outer packets. */
  readonly underlay: string;
  /** Destination UDP port of the outer packets; 0 in a desired state is the kernel's default, 8472. */
  readonly port: number;
  readonly learning: boolean;
  /** Group Based Policy extension. */
  readonly gbp: boolean;
}

/** A device of a type that this program does not make; read so that it is never mistaken for ours. */
export interface OtherLink extends LinkBase {
  readonly type: "other";
  /** IFLA_INFO_KIND, such as `bridge`; empty for hardware. */
  readonly linkKind: string;
}

export interface Address {
  readonly kind: "address";
  readonly link: string;
  readonly address: IpAddress;
  readonly prefixLength: number;
}

/** A permanent neighbour entry (NUD_PERMANENT): who answers for `address` on `link`. */
export interface Neighbour {
  readonly kind: "neighbour";
  readonly link: string;
  readonly address: IpAddress;
  readonly mac: MacAddress;
}

/** A permanent forwarding entry of a vxlan device (AF_BRIDGE, NTF_SELF): which host `mac` is on. */
export interface FdbEntry {
  readonly kind: "fdb";
  readonly link: string;
  readonly mac: MacAddress;
  readonly remote: IpAddress;
}

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
  /** RT_SCOPE_*: link when there is no gateway, else universe. IPv6 knows universe only. */
  readonly scope: "universe" | "link";
  /** Priority; the kernel reads IPv6's 0 as 1024, so a desired IPv6 route says 1024. */
  readonly metric: number;
  /** RTPROT_*, who made the route. */
  readonly protocol: number;
  /** Routing table; 254 is main. */
  readonly table: number;
  /** More than one next hop, as read from the kernel. Ours have one. */
  readonly multipath?: boolean;
}

/** A kernel parameter below /proc/sys. */
export interface Sysctl {
  readonly kind: "sysctl";
  /** Path below /proc/sys, such as `net/ipv6/conf/flannel-v6.1/accept_ra`. */
  readonly path: string;
  readonly value: string;
}

/** Routing protocol number of the routes that this program makes. Free in iproute2's rt_protos. */
export const RTPROT_FLANNEL = 70;
export const RT_TABLE_MAIN = 254; // linux/rtnetlink.h
/** The metric that the kernel gives an IPv6 route made without one (IP6_RT_PRIO_USER, net/ip6_fib.h). */
export const IPV6_DEFAULT_METRIC = 1024;
