/** Random desired and actual states for property tests: few names and numbers, so they overlap. */

import fc from "fast-check";
import type { Ownership } from "../../src/state/ownership.ts";
import type { Address, Link, Neighbour, Resource, Route } from "../../src/state/resource.ts";
import type { FdbEntry } from "../../src/state/resource.ts";
import { ETH0, ip, mac, prefix } from "./sample_network.ts";

export const OWNERSHIP: Ownership = {
  links: new Set(["flannel.1", "flannel-v6.1"]),
  linkTypes: new Set(["vxlan"]),
  networks: [prefix("10.5.0.0/16"), prefix("fc00::/48")],
  routeLink: "eth0",
};

const numbers = fc.integer({ min: 1, max: 4 });

export function vxlanDevice(
  name: "flannel.1" | "flannel-v6.1",
  { vni = 1, mac: macNumber = 1, mtu = 1450, up = true } = {},
): Link {
  return {
    kind: "link",
    type: "vxlan",
    name,
    mtuBytes: mtu,
    mac: mac(macNumber),
    up,
    vni,
    local: ip(name === "flannel.1" ? "192.168.0.1" : "fd00::1"),
    underlay: "eth0",
    port: 8472,
    learning: false,
    gbp: false,
  };
}

export function tunnelRoute(n: number, protocol = 70): Route {
  return route({
    destination: prefix(`10.5.${n}.0/24`),
    link: "flannel.1",
    gateway: ip(`10.5.${n}.0`),
    onlink: true,
    protocol,
  });
}

export function directRoute(n: number, protocol = 70): Route {
  return route({
    destination: prefix(`10.5.${n}.0/24`),
    link: "eth0",
    gateway: ip(`192.168.0.${n}`),
    protocol,
  });
}

export function foreignRoute(n: number): Route {
  return route({ destination: prefix(`10.5.${n}.0/24`), link: "eth1", protocol: 4 });
}

export function tunnelRouteV6(n: number): Route {
  return route({
    destination: prefix(`fc00:0:0:${n}::/64`),
    link: "flannel-v6.1",
    gateway: ip(`fc00:0:0:${n}::`),
    onlink: true,
    metric: 1024,
  });
}

export function neighbour(n: number, macNumber: number): Neighbour {
  return { kind: "neighbour", link: "flannel.1", address: ip(`10.5.${n}.0`), mac: mac(macNumber) };
}

export function fdb(macNumber: number, n: number): FdbEntry {
  return { kind: "fdb", link: "flannel.1", mac: mac(macNumber), remote: ip(`192.168.0.${n}`) };
}

export function address(n: number): Address {
  return { kind: "address", link: "flannel.1", address: ip(`10.5.${n}.0`), prefixLength: 32 };
}

function route(fields: Pick<Route, "destination"> & Partial<Route>): Route {
  return {
    kind: "route",
    type: "unicast",
    onlink: false,
    scope: fields.gateway === undefined ? "link" : "universe",
    metric: 0,
    protocol: 70,
    table: 254,
    ...fields,
  };
}

/** One peer's entries, or a part of them. */
export const peerEntries: fc.Arbitrary<Resource> = fc.oneof(
  numbers.map((n) => tunnelRoute(n)),
  numbers.map((n) => tunnelRouteV6(n)),
  numbers.map((n) => directRoute(n)),
  fc.tuple(numbers, numbers).map(([n, m]) => neighbour(n, m)),
  fc.tuple(numbers, numbers).map(([n, m]) => fdb(m, n)),
  numbers.map((n) => address(n)),
);

/** The desired devices. */
export const desiredDevices: readonly Resource[] = [
  vxlanDevice("flannel.1"),
  vxlanDevice("flannel-v6.1"),
];

/** A device as a previous run, or another program, may have left it. */
export const foundDevice: fc.Arbitrary<Link> = fc.record({
  name: fc.constantFrom("flannel.1" as const, "flannel-v6.1" as const),
  vni: fc.constantFrom(1, 1, 2),
  mac: fc.constantFrom(1, 1, 9),
  mtu: fc.constantFrom(1450, 1400),
  up: fc.constantFrom(true, true, false),
}).map(({ name, ...rest }) => vxlanDevice(name, rest));

/** Entries of other programs, with keys that ours may need and with other keys. */
export const foreignEntries: fc.Arbitrary<Resource> = fc.oneof(
  numbers.map((n) => foreignRoute(n)),
  numbers.map((n) => route({ destination: prefix(`10.9.${n}.0/24`), link: "eth1", protocol: 4 })),
  fc.constant<Resource>({
    kind: "address",
    link: "eth1",
    address: ip("10.9.0.1"),
    prefixLength: 16,
  }),
);

export const UNDERLAY: readonly Resource[] = [
  ETH0,
  { ...ETH0, name: "eth1" },
  { kind: "address", link: "eth0", address: ip("192.168.0.1"), prefixLength: 24 },
];
