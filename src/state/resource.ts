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
import type { WireguardKey } from "../addr/wireguard_key.ts";

export type Resource =
  | Link
  | Address
  | Neighbour
  | FdbEntry
  | Route
  | Sysctl
  | WireguardDevice
  | WireguardPeer
  | FouPort
  | XfrmPolicy;
export type ResourceKind = Resource["kind"];

/** Canonical text that identifies an entry in its table; see `resourceKey`. */
export type ResourceKey = string & { readonly __resourceKey: true };

/** A network device. Attributes that cannot be changed in place are those of its `type`. */
export type Link = VxlanLink | WireguardLink | IpipLink | TunLink | OtherLink;
export type LinkType = Link["type"];

interface LinkBase {
  readonly kind: "link";
  readonly name: string;
  readonly mtuBytes: number;
  /** A device without link-layer addresses, such as a tunnel of IP packets, has `NO_MAC`. */
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

/** Keys, port and peers are entries of their own: `WireguardDevice`, `WireguardPeer`. */
export interface WireguardLink extends LinkBase {
  readonly type: "wireguard";
  /** Who runs the protocol: the kernel, or a process that holds a TUN device of this name. */
  readonly implementation: "kernel" | "userspace";
}

/** An IPv4-in-IPv4 tunnel (RFC 2003) to any remote; linux/if_tunnel.h, IFLA_IPTUN_*. */
export interface IpipLink extends LinkBase {
  readonly type: "ipip";
  /** Source address of the outer packets. */
  readonly local: IpAddress;
  /**
   * UDP source and destination port of the outer packets, where the tunnel is one inside UDP (FOU,
   * linux/fou.h); absent for bare IP-in-IP.
   */
  readonly fouPort?: number;
}

/**
 * A TUN device of IP packets without header (IFF_TUN, IFF_NO_PI; linux/if_tun.h). It is made to stay
 * until it is deleted; of one that goes with its process, this is not known.
 */
export interface TunLink extends LinkBase {
  readonly type: "tun";
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

/** What a WireGuard device itself holds (linux/wireguard.h, WGDEVICE_A_*). */
export interface WireguardDevice {
  readonly kind: "wireguard-device";
  readonly link: string;
  /** Secret: never part of a text. */
  readonly privateKey: WireguardKey;
  /** UDP port that packets are received on and sent from. */
  readonly listenPort: number;
}

/** A peer of a WireGuard device (linux/wireguard.h, WGPEER_A_*). */
export interface WireguardPeer {
  readonly kind: "wireguard-peer";
  readonly link: string;
  readonly publicKey: WireguardKey;
  /** Secret: never part of a text. */
  readonly presharedKey?: WireguardKey;
  readonly endpoint?: WireguardEndpoint;
  /** Seconds between keepalives; 0 is none. */
  readonly keepaliveSeconds: number;
  /** What may come from the peer and goes to it, sorted as text. */
  readonly allowedIps: readonly Prefix[];
  /**
   * Of a peer as read: it is in touch (a handshake less than 180 s ago, the lifetime of a session) from
   * an endpoint that the kernel learned, which is then as good as the one desired.
   */
  readonly roamed?: true;
}

/** A UDP address. */
export interface WireguardEndpoint {
  readonly address: IpAddress;
  readonly port: number;
}

/** A UDP port whose payload the kernel takes for packets of an IP protocol (linux/fou.h). IPv4. */
export interface FouPort {
  readonly kind: "fou";
  readonly port: number;
  /** IPPROTO_*: 4 is IPv4 in IPv4. */
  readonly protocol: number;
}

/** A policy of the IPsec database (linux/xfrm.h, struct xfrm_userpolicy_info). */
export interface XfrmPolicy {
  readonly kind: "xfrm-policy";
  readonly direction: "out" | "in" | "fwd";
  readonly source: Prefix;
  readonly destination: Prefix;
  /**
   * The one template: an ESP tunnel. Absent in a policy as read that has another action than "allow",
   * another kind of template, or not just one.
   */
  readonly tunnel?: XfrmTunnel;
}

export interface XfrmTunnel {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** Ties the policy to the security associations made for it. */
  readonly reqid: number;
}

/** What the link-layer address of a device without one reads as. */
export const NO_MAC = "00:00:00:00:00:00" as MacAddress;
/** Request id of this program's security associations, as of Go flannel's. */
export const XFRM_REQID = 11;
/** Routing protocol number of the routes that this program makes. Free in iproute2's rt_protos. */
export const RTPROT_FLANNEL = 70;
export const RT_TABLE_MAIN = 254; // linux/rtnetlink.h
/** The metric that the kernel gives an IPv6 route made without one (IP6_RT_PRIO_USER, net/ip6_fib.h). */
export const IPV6_DEFAULT_METRIC = 1024;
