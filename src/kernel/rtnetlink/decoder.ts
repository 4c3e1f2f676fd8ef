/**
 * From rtnetlink messages to resources (rtnetlink(7), linux/rtnetlink.h).
 *
 * Each function gets a message whose header has been read and gives the entry it describes, or
 * `undefined` when that is not an entry this program deals with, or is malformed.
 */

import type { Family, IpAddress } from "../../addr/ip.ts";
import { addressFromBytes, IPV4_UNSPECIFIED } from "../../addr/ip.ts";
import type { MacAddress } from "../../addr/mac.ts";
import { type Prefix, prefixFromBytes } from "../../addr/prefix.ts";
import {
  type Address,
  type FdbEntry,
  type IpipLink,
  type Link,
  type Neighbour,
  NO_MAC,
  type Route,
  type VxlanLink,
} from "../../state/resource.ts";
import * as k from "../../../ffi/linux.ts";
import { addressLength, familyFrom } from "../wire/address_family.ts";
import { Attributes, type MessageReader } from "../wire/message_reader.ts";
import { hasUapiSocket } from "../wireguard/userspace_driver.ts";

/** Names by interface index. */
export type LinkNames = ReadonlyMap<number, string>;

/** A link as one message tells of it: a vxlan's underlay is known by index only. */
export interface DecodedLink {
  readonly ifindex: number;
  readonly link: Link;
  /** 0 if there is none. */
  readonly underlayIndex: number;
}

/** RTM_NEWLINK, RTM_DELLINK. A bridge's reports of its ports (AF_BRIDGE) are not links. */
export function decodeLink(message: MessageReader): DecodedLink | undefined {
  const { view, start, end } = message;
  if (end - start < k.ifinfomsg.size) return undefined;
  if (view.getUint8(start + k.ifinfomsg.ifi_family) !== k.AF_UNSPEC) return undefined;
  const ifindex = view.getInt32(start + k.ifinfomsg.ifi_index, true);
  const attributes = outer.read(message, start + k.ifinfomsg.size, end);
  const name = attributes.text(k.IFLA_IFNAME);
  if (name === undefined || name === "" || ifindex <= 0) return undefined;
  const base = {
    kind: "link",
    name,
    mtuBytes: attributes.u32(k.IFLA_MTU) ?? 0,
    mac: macText(attributes.bytes(k.IFLA_ADDRESS)),
    up: (view.getUint32(start + k.ifinfomsg.ifi_flags, true) & k.IFF_UP) !== 0,
  } as const;
  const info = attributes.nested(k.IFLA_LINKINFO, inner);
  const linkKind = info?.text(k.IFLA_INFO_KIND) ?? "";
  const data = info?.nested(k.IFLA_INFO_DATA, innermost);
  const underlayIndex = linkKind === "vxlan" ? data?.u32(k.IFLA_VXLAN_LINK) ?? 0 : 0;
  return { ifindex, link: linkOfKind(base, linkKind, data), underlayIndex };
}

/** What every message of a link tells. */
type LinkBase = Pick<Link, "kind" | "name" | "mtuBytes" | "mac" | "up">;

function linkOfKind(base: LinkBase, linkKind: string, data: Attributes | undefined): Link {
  if (linkKind === "wireguard") return { ...base, type: "wireguard", implementation: "kernel" };
  if (linkKind === "vxlan" && data !== undefined) {
    return { ...base, type: "vxlan", ...vxlanAttributes(data) };
  }
  if (linkKind === "ipip" && data !== undefined && hasAnyRemote(data)) {
    return { ...base, type: "ipip", ...ipipAttributes(data) };
  }
  if (linkKind === "tun" && data !== undefined && isPlainTun(data)) return { ...base, type: "tun" };
  return { ...base, type: "other", linkKind };
}

/**
 * The link with what its message does not tell: the name of a vxlan's underlay (a device in another
 * namespace has none here), and whether a TUN device is one of WireGuard.
 */
export function completeLink({ link, underlayIndex }: DecodedLink, names: LinkNames): Link {
  if (link.type === "vxlan") return { ...link, underlay: names.get(underlayIndex) ?? "" };
  const isTun = link.type === "tun" || link.type === "other" && link.linkKind === "tun";
  if (!isTun || !hasUapiSocket(link.name)) return link;
  const { kind, name, mtuBytes, mac, up } = link;
  return { kind, name, mtuBytes, mac, up, type: "wireguard", implementation: "userspace" };
}

/**
 * A device of IP packets without header. That it is persistent does not count: one of ours is not at
 * the moment when it is announced.
 */
function isPlainTun(data: Attributes): boolean {
  const isSet = (type: number) => (data.u8(type) ?? 0) !== 0;
  return data.u8(k.IFLA_TUN_TYPE) === k.IFF_TUN &&
    ![k.IFLA_TUN_PI, k.IFLA_TUN_VNET_HDR, k.IFLA_TUN_MULTI_QUEUE].some(isSet);
}

/** RTM_NEWADDR, RTM_DELADDR. */
export function decodeAddress(message: MessageReader, names: LinkNames): Address | undefined {
  const { view, start, end } = message;
  if (end - start < k.ifaddrmsg.size) return undefined;
  const link = names.get(view.getUint32(start + k.ifaddrmsg.ifa_index, true));
  const attributes = outer.read(message, start + k.ifaddrmsg.size, end);
  // IFA_LOCAL is our end of a point-to-point link, where IFA_ADDRESS is the peer's.
  const address = addressText(attributes.bytes(k.IFA_LOCAL) ?? attributes.bytes(k.IFA_ADDRESS));
  if (link === undefined || address === undefined) return undefined;
  const prefixLength = view.getUint8(start + k.ifaddrmsg.ifa_prefixlen);
  return { kind: "address", link, address, prefixLength };
}

/** A neighbour or forwarding entry, and whether it is a permanent one. */
export interface DecodedNeighbour {
  readonly resource: Neighbour | FdbEntry;
  readonly permanent: boolean;
}

/**
 * RTM_NEWNEIGH, RTM_DELNEIGH. An AF_BRIDGE entry counts when it names a remote host, as only those
 * of a vxlan device do. An entry without a MAC (on its way out) has the zero address.
 */
export function decodeNeighbour(
  message: MessageReader,
  names: LinkNames,
): DecodedNeighbour | undefined {
  const { view, start, end } = message;
  if (end - start < k.ndmsg.size) return undefined;
  const link = names.get(view.getInt32(start + k.ndmsg.ndm_ifindex, true));
  const attributes = outer.read(message, start + k.ndmsg.size, end);
  const address = addressText(attributes.bytes(k.NDA_DST));
  if (link === undefined || address === undefined) return undefined;
  const mac = macText(attributes.bytes(k.NDA_LLADDR));
  const permanent = (view.getUint16(start + k.ndmsg.ndm_state, true) & k.NUD_PERMANENT) !== 0;
  const resource: Neighbour | FdbEntry = view.getUint8(start + k.ndmsg.ndm_family) === k.AF_BRIDGE
    ? { kind: "fdb", link, mac, remote: address }
    : { kind: "neighbour", link, address, mac };
  return { resource, permanent };
}

/**
 * RTM_NEWROUTE, RTM_DELROUTE: unicast and blackhole routes of the main table. Left out are cached
 * routes and those for one type of service only (they are other routes than ours would be).
 */
export function decodeRoute(message: MessageReader, names: LinkNames): Route | undefined {
  const { view, start, end } = message;
  if (end - start < k.rtmsg.size) return undefined;
  const type = view.getUint8(start + k.rtmsg.rtm_type);
  const flags = view.getUint32(start + k.rtmsg.rtm_flags, true);
  const family = familyFrom(view.getUint8(start + k.rtmsg.rtm_family));
  if (type !== k.RTN_UNICAST && type !== k.RTN_BLACKHOLE || family === undefined) return undefined;
  if ((flags & k.RTM_F_CLONED) !== 0 || view.getUint8(start + k.rtmsg.rtm_tos) !== 0) {
    return undefined;
  }
  const attributes = outer.read(message, start + k.rtmsg.size, end);
  const table = attributes.u32(k.RTA_TABLE) ?? view.getUint8(start + k.rtmsg.rtm_table);
  const length = view.getUint8(start + k.rtmsg.rtm_dst_len);
  const destination = prefixOf(family, attributes.bytes(k.RTA_DST), length);
  if (table !== k.RT_TABLE_MAIN || destination === undefined) return undefined;
  const source = addressText(attributes.bytes(k.RTA_PREFSRC));
  const base = {
    kind: "route",
    destination,
    ...(source === undefined ? {} : { source }),
    scope: view.getUint8(start + k.rtmsg.rtm_scope) === k.RT_SCOPE_LINK ? "link" : "universe",
    metric: attributes.u32(k.RTA_PRIORITY) ?? 0,
    protocol: view.getUint8(start + k.rtmsg.rtm_protocol),
    table,
  } as const;
  // IPv6 gives a blackhole the loopback device.
  if (type === k.RTN_BLACKHOLE) return { ...base, type: "blackhole", onlink: false };
  const hop = firstHop(message, attributes, flags);
  const link = hop && names.get(hop.ifindex);
  if (hop === undefined || link === undefined) return undefined;
  return {
    ...base,
    type: "unicast",
    link,
    onlink: hop.onlink,
    ...(hop.gateway === undefined ? {} : { gateway: hop.gateway }),
    ...(hop.multipath ? { multipath: true } : {}),
  };
}

/** Index of the device that an entry belongs to: what has to be known to decode it. 0 if it has none. */
export function deviceOf(message: MessageReader): number {
  const { view, start, end, type } = message;
  switch (type) {
    case k.RTM_NEWADDR:
      return end - start < k.ifaddrmsg.size
        ? 0
        : view.getUint32(start + k.ifaddrmsg.ifa_index, true);
    case k.RTM_NEWNEIGH:
      return end - start < k.ndmsg.size ? 0 : view.getInt32(start + k.ndmsg.ndm_ifindex, true);
    case k.RTM_NEWROUTE: {
      if (end - start < k.rtmsg.size) return 0;
      return outer.read(message, start + k.rtmsg.size, end).u32(k.RTA_OIF) ?? 0;
    }
    default:
      return 0;
  }
}

/** What a reply to RTM_GETROUTE says. */
export interface DecodedLookup {
  readonly type: number;
  readonly ifindex: number;
  readonly gateway?: IpAddress;
  readonly source?: IpAddress;
}

export function decodeLookup(message: MessageReader): DecodedLookup | undefined {
  const { view, start, end } = message;
  if (end - start < k.rtmsg.size) return undefined;
  const attributes = outer.read(message, start + k.rtmsg.size, end);
  const gateway = gatewayOf(attributes);
  const source = addressText(attributes.bytes(k.RTA_PREFSRC));
  return {
    type: view.getUint8(start + k.rtmsg.rtm_type),
    ifindex: attributes.u32(k.RTA_OIF) ?? 0,
    ...(gateway === undefined ? {} : { gateway }),
    ...(source === undefined ? {} : { source }),
  };
}

// Indexes for the attributes of one message at a time, made once.
const outer = new Attributes();
const inner = new Attributes();
const innermost = new Attributes();

/**
 * Whether a tunnel sends where the routes say, and wraps packets as one of ours may. One between two
 * fixed ends, with ports that differ, or with its destinations from elsewhere ("external"), is no
 * `IpipLink`.
 */
function hasAnyRemote(data: Attributes): boolean {
  const remote = addressText(data.bytes(k.IFLA_IPTUN_REMOTE)) ?? IPV4_UNSPECIFIED;
  const encap = data.u16(k.IFLA_IPTUN_ENCAP_TYPE) ?? k.TUNNEL_ENCAP_NONE;
  const isPlain = encap === k.TUNNEL_ENCAP_NONE || encap === k.TUNNEL_ENCAP_FOU &&
      data.be16(k.IFLA_IPTUN_ENCAP_SPORT) === data.be16(k.IFLA_IPTUN_ENCAP_DPORT);
  return remote === IPV4_UNSPECIFIED && isPlain && !data.has(k.IFLA_IPTUN_COLLECT_METADATA);
}

function vxlanAttributes(data: Attributes): Omit<VxlanLink, keyof LinkBase | "type"> {
  const local = data.bytes(k.IFLA_VXLAN_LOCAL) ?? data.bytes(k.IFLA_VXLAN_LOCAL6);
  return {
    vni: data.u32(k.IFLA_VXLAN_ID) ?? 0,
    local: addressText(local) ?? IPV4_UNSPECIFIED,
    underlay: "",
    port: data.be16(k.IFLA_VXLAN_PORT) ?? 0,
    learning: (data.u8(k.IFLA_VXLAN_LEARNING) ?? 0) !== 0,
    gbp: data.has(k.IFLA_VXLAN_GBP),
  };
}

function ipipAttributes(data: Attributes): Pick<IpipLink, "local" | "fouPort"> {
  const local = addressText(data.bytes(k.IFLA_IPTUN_LOCAL)) ?? IPV4_UNSPECIFIED;
  const isFou = data.u16(k.IFLA_IPTUN_ENCAP_TYPE) === k.TUNNEL_ENCAP_FOU;
  const fouPort = isFou ? data.be16(k.IFLA_IPTUN_ENCAP_DPORT) : undefined;
  return { local, ...(fouPort === undefined ? {} : { fouPort }) };
}

interface Hop {
  readonly ifindex: number;
  readonly gateway: IpAddress | undefined;
  readonly onlink: boolean;
  readonly multipath: boolean;
}

function firstHop(message: MessageReader, attributes: Attributes, flags: number): Hop | undefined {
  const ifindex = attributes.u32(k.RTA_OIF);
  if (ifindex !== undefined) {
    const onlink = (flags & k.RTNH_F_ONLINK) !== 0;
    return { ifindex, gateway: gatewayOf(attributes), onlink, multipath: false };
  }
  const hops = attributes.bytes(k.RTA_MULTIPATH);
  if (hops === undefined || hops.length < k.rtnexthop.size) return undefined;
  const at = hops.byteOffset - message.bytes.byteOffset;
  const length = message.view.getUint16(at + k.rtnexthop.rtnh_len, true);
  if (length < k.rtnexthop.size || length > hops.length) return undefined;
  const hopFlags = message.view.getUint8(at + k.rtnexthop.rtnh_flags);
  return {
    ifindex: message.view.getInt32(at + k.rtnexthop.rtnh_ifindex, true),
    gateway: gatewayOf(inner.read(message, at + k.rtnexthop.size, at + length)),
    onlink: (hopFlags & k.RTNH_F_ONLINK) !== 0,
    multipath: true,
  };
}

/** RTA_GATEWAY, or RTA_VIA: a gateway of the other family, behind its 16-bit address family. */
function gatewayOf(attributes: Attributes): IpAddress | undefined {
  return addressText(attributes.bytes(k.RTA_GATEWAY) ?? attributes.bytes(k.RTA_VIA)?.subarray(2));
}

function prefixOf(
  family: Family,
  bytes: Uint8Array | undefined,
  length: number,
): Prefix | undefined {
  const size = addressLength(family);
  if (length > size * 8) return undefined;
  if (bytes === undefined) {
    return length === 0 ? (family === 4 ? "0.0.0.0/0" : "::/0") as Prefix : undefined;
  }
  return bytes.length === size ? prefixFromBytes(bytes, length) : undefined;
}

function addressText(bytes: Uint8Array | undefined): IpAddress | undefined {
  if (bytes === undefined || bytes.length !== 4 && bytes.length !== 16) return undefined;
  return addressFromBytes(bytes);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Six octets as text. Anything else (a tunnel's link-layer address is an IP address) counts as none. */
function macText(bytes: Uint8Array | undefined): MacAddress {
  if (bytes === undefined || bytes.length !== 6) return NO_MAC;
  let text = HEX[bytes[0] as number] as string;
  for (let i = 1; i < 6; i++) text += `:${HEX[bytes[i] as number]}`;
  return text as MacAddress;
}
