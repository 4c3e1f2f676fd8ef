/** Whether the kernel holds what is wanted, and for devices, what it takes to get there. */

import type { Link, Resource, Route, VxlanLink } from "./resource.ts";

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
  }
}

/** Whether two entries are alike in every respect; `sameResource` lets a default stand for its value. */
export function equalResources(a: Resource, b: Resource): boolean {
  return a === b || sameResource(a, b) && (a.kind !== "link" || sameResource(b, a));
}

/**
 * Why a device must be deleted and made anew to become the desired one; `undefined` if changing its
 * MTU, MAC and administrative state in place is enough. The kernel refuses to change id, port and
 * GBP; learning, local address and underlay it can change only since some releases, and when one of
 * them is wrong no packet passes anyway.
 */
export function recreationReason(desired: VxlanLink, actual: Link): string | undefined {
  if (actual.type !== "vxlan") {
    return `it is a ${actual.linkKind || "hardware"} device, not a vxlan device`;
  }
  const differences: string[] = [];
  const compare = (name: string, wanted: unknown, found: unknown) => {
    if (wanted !== found) differences.push(`${name} is ${found}, not ${wanted}`);
  };
  compare("VNI", desired.vni, actual.vni);
  compare("port", vxlanPort(desired), vxlanPort(actual));
  compare("local address", desired.local, actual.local);
  compare("underlay", desired.underlay, actual.underlay);
  compare("learning", desired.learning, actual.learning);
  compare("GBP", desired.gbp, actual.gbp);
  return differences.length > 0 ? differences.join(", ") : undefined;
}

function sameLink(desired: Link, actual: Link): boolean {
  if (desired.name !== actual.name || desired.type !== actual.type) return false;
  const same = desired.mtuBytes === actual.mtuBytes && desired.mac === actual.mac &&
    desired.up === actual.up;
  if (desired.type === "vxlan") return same && recreationReason(desired, actual) === undefined;
  return same && actual.type === "other" && desired.linkKind === actual.linkKind;
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
