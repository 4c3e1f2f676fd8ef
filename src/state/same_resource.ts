/** Whether the kernel holds what is wanted, and for devices, what it takes to get there. */

import type {
  IpipLink,
  Link,
  OtherLink,
  Resource,
  Route,
  VxlanLink,
  WireguardLink,
  WireguardPeer,
  XfrmPolicy,
} from "./resource.ts";

/** The port of a vxlan device made without one: the kernel's historical number, not IANA's 4789. */
export const VXLAN_DEFAULT_PORT = 8472; // drivers/net/vxlan/vxlan_core.c

/** Whether an actual entry is as the desired one of the same key says. */
export function sameResource(desired: Resource, actual: Resource): boolean {
  if (desired === actual) return true;
  switch (desired.kind) {
    case "link":
      return actual.kind === "link" && sameLink(desired, actual);
    case "address":
      return actual.kind === "address" && desired.link === actual.link &&
        desired.address === actual.address && desired.prefixLength === actual.prefixLength;
    case "neighbour":
      return actual.kind === "neighbour" && desired.link === actual.link &&
        desired.address === actual.address && desired.mac === actual.mac;
    case "fdb":
      return actual.kind === "fdb" && desired.link === actual.link &&
        desired.mac === actual.mac && desired.remote === actual.remote;
    case "route":
      return actual.kind === "route" && sameRoute(desired, actual);
    case "sysctl":
      return actual.kind === "sysctl" && desired.path === actual.path &&
        desired.value === actual.value;
    case "wireguard-device":
      return actual.kind === "wireguard-device" && desired.link === actual.link &&
        desired.privateKey === actual.privateKey && desired.listenPort === actual.listenPort;
    case "wireguard-peer":
      return actual.kind === "wireguard-peer" && samePeer(desired, actual);
    case "fou":
      return actual.kind === "fou" && desired.port === actual.port &&
        desired.protocol === actual.protocol;
    case "xfrm-policy":
      return actual.kind === "xfrm-policy" && samePolicy(desired, actual);
  }
}

/** Whether two entries are alike in every respect; `sameResource` lets a default stand for its value. */
export function equalResources(a: Resource, b: Resource): boolean {
  return a === b || sameResource(a, b) && sameResource(b, a);
}

/**
 * Why a device must be deleted and made anew to become the desired one; `undefined` if changing its
 * MTU, MAC and administrative state in place is enough.
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
 * What a device of each type is made with and keeps. The kernel refuses to change a vxlan device's
 * id, port and GBP; learning, local address and underlay it can change only since some releases, and
 * when one of them is wrong no packet passes anyway.
 */
const FIXED_ATTRIBUTES: {
  readonly [Type in Link["type"]]: Readonly<Record<string, (link: Link) => unknown>>;
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

function sameLink(desired: Link, actual: Link): boolean {
  return desired.name === actual.name && desired.mtuBytes === actual.mtuBytes &&
    desired.mac === actual.mac && desired.up === actual.up &&
    recreationReason(desired, actual) === undefined;
}

/** An endpoint that the kernel learned from a peer in touch is not fought. */
function samePeer(desired: WireguardPeer, actual: WireguardPeer): boolean {
  const sameEndpoint = desired.endpoint?.address === actual.endpoint?.address &&
    desired.endpoint?.port === actual.endpoint?.port;
  return desired.link === actual.link && desired.publicKey === actual.publicKey &&
    desired.presharedKey === actual.presharedKey &&
    desired.keepaliveSeconds === actual.keepaliveSeconds &&
    desired.allowedIps.join() === actual.allowedIps.join() &&
    (sameEndpoint || actual.roamed === true);
}

function samePolicy(desired: XfrmPolicy, actual: XfrmPolicy): boolean {
  return desired.direction === actual.direction && desired.source === actual.source &&
    desired.destination === actual.destination &&
    desired.tunnel?.source === actual.tunnel?.source &&
    desired.tunnel?.destination === actual.tunnel?.destination &&
    desired.tunnel?.reqid === actual.tunnel?.reqid;
}

function vxlanPort(link: VxlanLink): number {
  return link.port === 0 ? VXLAN_DEFAULT_PORT : link.port;
}

function sameRoute(desired: Route, actual: Route): boolean {
  const same = desired.type === actual.type && desired.destination === actual.destination &&
    desired.metric === actual.metric && desired.protocol === actual.protocol &&
    desired.table === actual.table && !desired.multipath === !actual.multipath;
  // The kernel shows an IPv6 blackhole with the loopback device, and its scope says nothing.
  if (!same || desired.type === "blackhole") return same;
  return desired.link === actual.link && desired.gateway === actual.gateway &&
    desired.onlink === actual.onlink && desired.source === actual.source &&
    desired.scope === actual.scope;
}
