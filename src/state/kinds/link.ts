/** A network device. */

import type { IpAddress } from "../../addr/ip.ts";
import type { MacAddress } from "../../addr/mac.ts";
import { assertNever } from "../../base/assert_never.ts";
import { type EntryKind, type ResourceKey, STAGE } from "./entry_kind.ts";

/** Attributes that cannot be changed in place are those of its `type`. */
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
  /** Destination UDP port of the outer packets; a desired 0 is the kernel's default, 8472. */
  readonly port: number;
  readonly learning: boolean;
  /** Group Based Policy extension. */
  readonly gbp: boolean;
}

/** Keys, port and peers are entries of their own: `WireguardDevice`, `WireguardPeer`. */
export interface WireguardLink extends LinkBase {
  readonly type: "wireguard";
  /** What runs the protocol: the kernel, or a process that holds a TUN device of this name. */
  readonly implementation: "kernel" | "userspace";
}

/** An IPv4-in-IPv4 tunnel (RFC 2003) to any remote; linux/if_tunnel.h, IFLA_IPTUN_*. */
export interface IpipLink extends LinkBase {
  readonly type: "ipip";
  /** Source address of the outer packets. */
  readonly local: IpAddress;
  /**
   * UDP source and destination port of the outer packets, where the tunnel is inside UDP (FOU,
   * linux/fou.h); absent for bare IP-in-IP.
   */
  readonly fouPort?: number;
}

/**
 * A TUN device of IP packets without header (IFF_TUN, IFF_NO_PI; linux/if_tun.h). It is created
 * persistent; whether an existing one is, cannot be read.
 */
export interface TunLink extends LinkBase {
  readonly type: "tun";
}

/** A device of a type that this program never creates; known so that it is not taken for ours. */
export interface OtherLink extends LinkBase {
  readonly type: "other";
  /** IFLA_INFO_KIND, such as `bridge`; empty for hardware. */
  readonly linkKind: string;
}

/** The MAC address that a device without one is shown with. */
export const NO_MAC = "00:00:00:00:00:00" as MacAddress;

/** The port of a vxlan device created without one: the kernel's own number, not IANA's 4789. */
export const VXLAN_DEFAULT_PORT = 8472; // drivers/net/vxlan/vxlan_core.c

export const linkKind: EntryKind<Link> = {
  key: ({ name }) => linkKey(name),
  text: linkText,
  isSame: (desired, actual) =>
    desired.name === actual.name && desired.mtuBytes === actual.mtuBytes &&
    desired.mac === actual.mac && desired.up === actual.up &&
    recreationReason(desired, actual) === undefined,
  linkOf: () => undefined,
  isOurs: ({ name }, { links }) => links.has(name),
  mayAdopt: () => false,
  stage: STAGE.link,
  foreign: "conflicts",
  isExclusive: false,
  needsLinkUp: false,
  dump: { extent: "table", when: "always" },
};

export function linkKey(name: string): ResourceKey {
  return `link ${name}` as ResourceKey;
}

/**
 * Why a device must be deleted and created again to become the desired one; `undefined` if changing
 * its MTU, MAC and administrative state in place is enough.
 */
export function recreationReason(desired: Link, actual: Link): string | undefined {
  const differences: string[] = [];
  const compare = (name: string, wanted: unknown, found: unknown) => {
    if (wanted !== found) {
      differences.push(`${name} is ${found ?? "none"}, not ${wanted ?? "none"}`);
    }
  };
  for (const [name, read] of Object.entries(FIXED_ATTRIBUTES[desired.type])) {
    if (desired.type !== actual.type) break;
    compare(name, read(desired), read(actual));
  }
  if (desired.type !== actual.type) compare("type", typeText(desired), typeText(actual));
  return differences.length > 0 ? differences.join(", ") : undefined;
}

/**
 * What a device of each type keeps for life. The kernel refuses to change a vxlan device's id, port
 * and GBP; only some releases can change learning, local address and underlay, and while one of
 * them is wrong no packet passes anyway.
 */
const FIXED_ATTRIBUTES: {
  readonly [Type in LinkType]: Readonly<Record<string, (link: Link) => unknown>>;
} = {
  vxlan: {
    VNI: (link) => (link as VxlanLink).vni,
    port: (link) => vxlanPort(link as VxlanLink),
    "local address": (link) => (link as VxlanLink).local,
    underlay: (link) => (link as VxlanLink).underlay,
    learning: (link) => (link as VxlanLink).learning,
    GBP: (link) => (link as VxlanLink).gbp,
  },
  wireguard: { implementation: (link) => (link as WireguardLink).implementation },
  ipip: {
    "local address": (link) => (link as IpipLink).local,
    "FOU port": (link) => (link as IpipLink).fouPort,
  },
  tun: {},
  other: { kind: (link) => (link as OtherLink).linkKind },
};

function typeText(link: Link): string {
  return link.type === "other" ? link.linkKind || "hardware" : link.type;
}

function vxlanPort(link: VxlanLink): number {
  return link.port === 0 ? VXLAN_DEFAULT_PORT : link.port;
}

function linkText(link: Link): string {
  const isLayer3 = link.type === "wireguard" || link.type === "ipip" || link.type === "tun";
  const base = `link ${link.name}: mtu ${link.mtuBytes} state ${link.up ? "up" : "down"}` +
    (isLayer3 ? "" : ` address ${link.mac}`);
  switch (link.type) {
    case "other":
      return link.linkKind === "" ? base : `${base} type ${link.linkKind}`;
    case "vxlan":
      return `${base} type vxlan id ${link.vni} local ${link.local} dev ${link.underlay} ` +
        `dstport ${link.port} ${link.learning ? "learning" : "nolearning"}${
          link.gbp ? " gbp" : ""
        }`;
    case "wireguard":
      return `${base} type wireguard${link.implementation === "kernel" ? "" : " (user space)"}`;
    case "ipip":
      return `${base} type ipip local ${link.local}` +
        (link.fouPort === undefined
          ? ""
          : ` encap fou encap-sport ${link.fouPort} encap-dport ${link.fouPort}`);
    case "tun":
      return `${base} type tun`;
    default:
      return assertNever(link);
  }
}
