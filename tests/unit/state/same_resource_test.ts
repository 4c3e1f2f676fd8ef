/** Each field of each kind counts when a desired entry is compared with the actual one. */

import { describe, expect, test } from "bun:test";
import { parseWireguardKey, type WireguardKey } from "../../../src/addr/wireguard_key.ts";
import { deviceOf, kindOfKey, linkOf, resourceKey } from "../../../src/state/resource_key.ts";
import {
  type IpipLink,
  kindOf,
  type Link,
  NO_MAC,
  type OtherLink,
  type Resource,
  type VxlanLink,
  type WireguardLink,
  type WireguardPeer,
} from "../../../src/state/resource.ts";
import { equalResources, sameResource } from "../../../src/state/same_resource.ts";
import { mayAdopt } from "../../../src/state/ownership.ts";
import { recreationReason } from "../../../src/state/kinds/link.ts";
import {
  address,
  fdb,
  neighbour,
  tunnelRoute,
  vxlanDevice,
} from "../../support/arbitrary_state.ts";
import { ip, mac, prefix } from "../../support/sample_network.ts";

const VXLAN = vxlanDevice("flannel.1") as VxlanLink;
const WIREGUARD: WireguardLink = {
  kind: "link",
  type: "wireguard",
  name: "flannel-wg",
  mtuBytes: 1420,
  mac: NO_MAC,
  up: true,
  implementation: "kernel",
};
const IPIP: IpipLink = {
  kind: "link",
  type: "ipip",
  name: "flannel.ipip",
  mtuBytes: 1480,
  mac: NO_MAC,
  up: true,
  local: ip("192.168.0.1"),
};
const BRIDGE: OtherLink = {
  kind: "link",
  type: "other",
  name: "cni0",
  mtuBytes: 1450,
  mac: mac(1),
  up: true,
  linkKind: "bridge",
};
const PEER: WireguardPeer = {
  kind: "wireguard-peer",
  link: "flannel-wg",
  publicKey: key("P"),
  presharedKey: key("S"),
  endpoint: { address: ip("192.168.0.2"), port: 51820 },
  keepaliveSeconds: 25,
  allowedIps: [prefix("10.5.2.0/24")],
};

function key(letter: string): WireguardKey {
  return parseWireguardKey(`${letter.repeat(42)}A=`) as WireguardKey;
}

/** One entry of each kind, and other values for each of its fields. */
const SAMPLES: readonly [Resource, Readonly<Record<string, unknown>>][] = [
  [VXLAN, {
    name: "flannel.2",
    mtuBytes: 1400,
    mac: mac(9),
    up: false,
    vni: 2,
    local: ip("192.168.0.9"),
    underlay: "eth1",
    port: 4789,
    learning: true,
    gbp: true,
  }],
  [WIREGUARD, { implementation: "userspace" }],
  [IPIP, { local: ip("192.168.0.9"), fouPort: 8285 }],
  [BRIDGE, { linkKind: "dummy" }],
  [address(1), { link: "eth0", address: ip("10.5.1.1"), prefixLength: 24 }],
  [neighbour(2, 2), { link: "eth0", address: ip("10.5.3.0"), mac: mac(9) }],
  [fdb(2, 2), { link: "eth0", mac: mac(9), remote: ip("192.168.0.9") }],
  [{ ...tunnelRoute(2), source: ip("10.5.1.0") }, {
    type: "blackhole",
    destination: prefix("10.5.3.0/24"),
    link: "eth0",
    gateway: ip("10.5.3.0"),
    onlink: false,
    source: ip("10.5.1.1"),
    scope: "link",
    metric: 1,
    protocol: 3,
    table: 255,
    multipath: true,
  }],
  [{ kind: "sysctl", path: "net/ipv4/ip_forward", value: "1" }, {
    path: "net/ipv4/conf/all/forwarding",
    value: "0",
  }],
  [
    { kind: "wireguard-device", link: "flannel-wg", privateKey: key("K"), listenPort: 51820 },
    { link: "flannel-wg-v6", privateKey: key("L"), listenPort: 51821 },
  ],
  [PEER, {
    link: "flannel-wg-v6",
    publicKey: key("Q"),
    presharedKey: key("T"),
    endpoint: { address: ip("192.168.0.3"), port: 51820 },
    keepaliveSeconds: 0,
    allowedIps: [prefix("10.5.2.0/24"), prefix("10.5.3.0/24")],
  }],
  [{ kind: "fou", port: 8285, protocol: 4 }, { port: 8286, protocol: 41 }],
  [{
    kind: "xfrm-policy",
    direction: "out",
    source: prefix("10.5.1.0/24"),
    destination: prefix("10.5.2.0/24"),
    tunnel: { source: ip("192.168.0.1"), destination: ip("192.168.0.2"), reqid: 11 },
  }, {
    direction: "in",
    source: prefix("10.5.3.0/24"),
    destination: prefix("10.5.3.0/24"),
    tunnel: { source: ip("192.168.0.1"), destination: ip("192.168.0.2"), reqid: 12 },
  }],
];

describe("sameResource()", () => {
  for (const [sample, changes] of SAMPLES) {
    const what = "type" in sample ? `${sample.kind} (${sample.type})` : sample.kind;

    test(`accepts another object with the fields of a ${what}`, () => {
      expect(sameResource(sample, structuredClone(sample))).toBe(true);
      expect(equalResources(sample, structuredClone(sample))).toBe(true);
    });

    test.each(Object.keys(changes))(`distinguishes two of ${what} by their %s`, (field) => {
      const other = { ...sample, [field]: changes[field] } as Resource;
      expect(sameResource(sample, other)).toBe(false);
      expect(sameResource(other, sample)).toBe(false);
      expect(equalResources(sample, other)).toBe(false);
    });

    test(`distinguishes a ${what} from an entry of another kind with the same fields`, () => {
      const kind = sample.kind === "fdb" ? "neighbour" : "fdb";
      expect(sameResource(sample, { ...sample, kind } as unknown as Resource)).toBe(false);
    });
  }

  test("distinguishes a peer without an endpoint from one with an endpoint", () => {
    const { endpoint, ...silent } = PEER;
    expect(sameResource(silent, { ...silent })).toBe(true);
    expect(sameResource(silent, PEER)).toBe(false);
    expect(sameResource(PEER, silent)).toBe(false);
    expect(sameResource(PEER, { ...PEER, endpoint: { ...endpoint, port: 1 } as never })).toBe(
      false,
    );
  });

  test("distinguishes a policy without a tunnel from one with a tunnel", () => {
    const policy = SAMPLES.map(([sample]) => sample).find(({ kind }) => kind === "xfrm-policy");
    const { tunnel: _, ...plain } = policy as Resource & { kind: "xfrm-policy" };
    expect(sameResource(plain, { ...plain })).toBe(true);
    expect(sameResource(plain, policy as Resource)).toBe(false);
  });

  test("ignores the device and scope of a blackhole, which the kernel chooses", () => {
    const wanted: Resource = { ...tunnelRoute(2), type: "blackhole", onlink: false };
    const { link: _, gateway: __, ...bare } = wanted;
    expect(sameResource(bare as Resource, { ...bare, link: "lo", scope: "link" } as Resource))
      .toBe(true);
    expect(sameResource(bare as Resource, { ...bare, protocol: 3 } as Resource)).toBe(false);
  });

  test("treats a desired vxlan port 0 as the kernel's default; equalResources() also", () => {
    const wanted: Link = { ...VXLAN, port: 0 };
    expect(sameResource(wanted, VXLAN)).toBe(true);
    expect(equalResources(wanted, VXLAN)).toBe(true);
  });
});

test("sameResource() accepts a learned endpoint, equalResources() does not", () => {
  const roamed: Resource = {
    ...PEER,
    endpoint: { address: ip("203.0.113.7"), port: 1 },
    roamed: true,
  };
  expect(sameResource(PEER, roamed)).toBe(true);
  expect(equalResources(PEER, roamed)).toBe(false);
  expect(equalResources(roamed, PEER)).toBe(false);
});

test("mayAdopt() is false for every kind of entry that is no route of Go flannel", () => {
  const criteria = {
    links: new Set<string>(),
    networks: [prefix("0.0.0.0/0")],
    routeLink: "flannel.1",
  };
  expect(SAMPLES.map(([sample]) => mayAdopt(sample, criteria))).toEqual(SAMPLES.map(() => false));
});

describe("recreationReason()", () => {
  test.each<[string, Link, Partial<Link>]>([
    ["VNI is 2, not 1", VXLAN, { vni: 2 }],
    ["port is 4789, not 8472", VXLAN, { port: 4789 }],
    ["local address is 192.168.0.9, not 192.168.0.1", VXLAN, { local: ip("192.168.0.9") }],
    ["underlay is eth1, not eth0", VXLAN, { underlay: "eth1" }],
    ["learning is true, not false", VXLAN, { learning: true }],
    ["GBP is true, not false", VXLAN, { gbp: true }],
    ["implementation is userspace, not kernel", WIREGUARD, { implementation: "userspace" }],
    ["local address is 192.168.0.9, not 192.168.0.1", IPIP, { local: ip("192.168.0.9") }],
    ["FOU port is 8285, not none", IPIP, { fouPort: 8285 }],
    ["kind is dummy, not bridge", BRIDGE, { linkKind: "dummy" }],
  ])("is that %s", (reason, wanted, change) => {
    expect(recreationReason(wanted, { ...wanted, ...change } as Link)).toBe(reason);
  });

  test("names the types when they differ, and nothing else", () => {
    expect(recreationReason(VXLAN, BRIDGE)).toBe("type is bridge, not vxlan");
    expect(recreationReason(VXLAN, { ...BRIDGE, linkKind: "" })).toBe(
      "type is hardware, not vxlan",
    );
    expect(recreationReason(BRIDGE, VXLAN)).toBe("type is vxlan, not bridge");
  });

  test("is undefined for attributes that are changed in place", () => {
    const change = { mtuBytes: 1300, mac: mac(9), up: false };
    for (const link of [VXLAN, WIREGUARD, IPIP, BRIDGE]) {
      expect(recreationReason(link, { ...link, ...change } as Link)).toBeUndefined();
    }
  });
});

describe("resourceKey()", () => {
  test("consists of the kind and the fields that identify an entry in its table", () => {
    expect(SAMPLES.map(([sample]) => resourceKey(sample) as string)).toEqual([
      "link flannel.1",
      "link flannel-wg",
      "link flannel.ipip",
      "link cni0",
      "address 10.5.1.0/32 flannel.1",
      "neighbour 10.5.2.0 flannel.1",
      "fdb 02:00:00:00:00:02 flannel.1",
      "route 10.5.2.0/24 0 254",
      "sysctl net/ipv4/ip_forward",
      "wireguard-device flannel-wg",
      `wireguard-peer ${key("P")} flannel-wg`,
      "fou 8285",
      "xfrm-policy out 10.5.1.0/24 10.5.2.0/24",
    ]);
  });

  test("begins with the kind, which kindOfKey() looks up", () => {
    for (const [sample] of SAMPLES) expect(kindOfKey(resourceKey(sample))).toBe(kindOf(sample));
  });
});

test("deviceOf() is a device's own name, and of other entries the device that they are on", () => {
  expect([VXLAN, fdb(2, 2)].map(deviceOf)).toEqual(["flannel.1", "flannel.1"]);
  expect(deviceOf({ kind: "sysctl", path: "net/ipv4/ip_forward", value: "1" })).toBeUndefined();
});

test("linkOf() is the device that an entry vanishes with", () => {
  expect(SAMPLES.map(([sample]) => linkOf(sample))).toEqual([
    ...Array(4).fill(undefined),
    "flannel.1",
    "flannel.1",
    "flannel.1",
    "flannel.1",
    undefined,
    "flannel-wg",
    "flannel-wg",
    undefined,
    undefined,
  ]);
  const of = (path: string) => linkOf({ kind: "sysctl", path, value: "1" });
  expect(of("net/ipv4/neigh/eth0.7/base_reachable_time_ms")).toBe("eth0.7");
  expect(of("net/ipv6/conf/eth0/accept_ra")).toBe("eth0");
  expect(of("net/ipv6/route/eth0/max_size")).toBeUndefined();
  expect(of("kernel/net/ipv6/conf/eth0/accept_ra")).toBeUndefined();
});
