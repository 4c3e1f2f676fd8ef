/** The entries of the other data planes than vxlan: key, comparison, ownership, order, text. */

import { describe, expect, test } from "bun:test";
import { parseWireguardKey, type WireguardKey } from "../../../src/addr/wireguard_key.ts";
import { isOurs, type Ownership, owns } from "../../../src/state/ownership.ts";
import { decide, orderSteps } from "../../../src/state/plan.ts";
import { linkOf, resourceKey } from "../../../src/state/resource_key.ts";
import {
  type IpipLink,
  type Link,
  NO_MAC,
  type Resource,
  type TunLink,
  type WireguardDevice,
  type WireguardLink,
  type WireguardPeer,
  type XfrmPolicy,
} from "../../../src/state/resource.ts";
import { sameResource } from "../../../src/state/same_resource.ts";
import { ETH0, ip, prefix } from "../../support/sample_network.ts";
import { stateText } from "../../support/state_text.ts";

const SECRET = key("S");
const layer3 = { kind: "link", mtuBytes: 1420, mac: NO_MAC, up: true } as const;
const WIREGUARD: WireguardLink = {
  ...layer3,
  type: "wireguard",
  name: "flannel-wg",
  implementation: "kernel",
};
const IPIP: IpipLink = {
  ...layer3,
  type: "ipip",
  name: "flannel0",
  local: ip("192.168.0.1"),
  fouPort: 8285,
};
const TUN: TunLink = { ...layer3, type: "tun", name: "flannel0" };
const DEVICE: WireguardDevice = {
  kind: "wireguard-device",
  link: "flannel-wg",
  privateKey: SECRET,
  listenPort: 51820,
};
const PEER: WireguardPeer = {
  kind: "wireguard-peer",
  link: "flannel-wg",
  publicKey: key("P"),
  presharedKey: SECRET,
  endpoint: { address: ip("fd00::2"), port: 51820 },
  keepaliveSeconds: 25,
  allowedIps: [prefix("10.5.2.0/24"), prefix("fc00:0:0:2::/64")],
};
const POLICY: XfrmPolicy = {
  kind: "xfrm-policy",
  direction: "out",
  source: prefix("10.5.1.0/24"),
  destination: prefix("10.5.2.0/24"),
  tunnel: { source: ip("192.168.0.1"), destination: ip("192.168.0.2"), reqid: 11 },
};
const FOU: Resource = { kind: "fou", port: 8285, protocol: 4 };

const OWNERSHIP: Ownership = {
  links: new Set(["flannel-wg", "flannel0"]),
  linkTypes: new Set(["wireguard", "ipip", "tun"]),
  networks: [prefix("10.5.0.0/16")],
  routeLink: "eth0",
  fouPorts: new Set([8285]),
};

function key(letter: string): WireguardKey {
  return parseWireguardKey(`${letter.repeat(42)}A=`) as WireguardKey;
}

test("stateText() shows them as their tools do, in the order of their creation", () => {
  const text = stateText([POLICY, PEER, DEVICE, FOU, TUN, { ...IPIP, name: "flannel.ipip" }]);
  expect(text).toBe(`\
link flannel.ipip: mtu 1420 state up type ipip local 192.168.0.1 encap fou encap-sport 8285 \
encap-dport 8285
link flannel0: mtu 1420 state up type tun
fou port 8285 ipproto 4
wireguard flannel-wg listen-port 51820
wireguard flannel-wg peer ${PEER.publicKey} preshared-key (hidden) endpoint [fd00::2]:51820 \
persistent-keepalive 25 allowed-ips 10.5.2.0/24,fc00:0:0:2::/64
xfrm policy src 10.5.1.0/24 dst 10.5.2.0/24 dir out tmpl src 192.168.0.1 dst 192.168.0.2 proto esp \
reqid 11 mode tunnel
`);
  expect(text).not.toContain(SECRET);
});

test("linkOf() puts a WireGuard peer on its device, a policy and a FOU port on none", () => {
  expect([DEVICE, PEER, FOU, POLICY].map(linkOf)).toEqual([
    "flannel-wg",
    "flannel-wg",
    undefined,
    undefined,
  ]);
});

describe("sameResource()", () => {
  const elsewhere = { address: ip("203.0.113.7"), port: 40000 };

  test("accepts a learned endpoint of a peer in touch, and no other", () => {
    expect(sameResource(PEER, { ...PEER, endpoint: elsewhere })).toBe(false);
    expect(sameResource(PEER, { ...PEER, endpoint: elsewhere, roamed: true })).toBe(true);
    const { presharedKey: _, ...keyless } = PEER;
    expect(sameResource(PEER, { ...keyless, endpoint: elsewhere, roamed: true })).toBe(false);
  });

  test("sees each field of a policy", () => {
    const { tunnel, ...plain } = POLICY;
    expect(sameResource(POLICY, plain)).toBe(false);
    for (const change of [{ reqid: 12 }, { source: ip("192.0.2.1") }, { destination: ip("::1") }]) {
      expect(sameResource(POLICY, { ...POLICY, tunnel: { ...tunnel, ...change } as never })).toBe(
        false,
      );
    }
    expect(resourceKey({ ...POLICY, direction: "in" })).not.toBe(resourceKey(POLICY));
  });
});

describe("ownership", () => {
  test("of a policy is by request id and networks", () => {
    const { tunnel: _, ...plain } = POLICY;
    const others: Resource[] = [
      plain,
      { ...POLICY, tunnel: { ...POLICY.tunnel as NonNullable<typeof POLICY.tunnel>, reqid: 1 } },
      { ...POLICY, source: prefix("0.0.0.0/0") },
      { ...POLICY, destination: prefix("10.6.2.0/24") },
    ];
    expect(isOurs(POLICY, OWNERSHIP)).toBe(true);
    for (const other of others) expect(isOurs(other, OWNERSHIP)).toBe(false);
  });

  test("of a FOU port is by number", () => {
    expect(isOurs(FOU, OWNERSHIP)).toBe(true);
    expect(isOurs({ ...FOU, port: 5555 } as Resource, OWNERSHIP)).toBe(false);
  });

  test("of a peer is lost when the device of our name belongs to another program", () => {
    const bridge: Link = { ...ETH0, name: "flannel-wg", linkKind: "bridge" };
    expect(owns(PEER, OWNERSHIP, () => WIREGUARD)).toBe(true);
    expect(owns(PEER, OWNERSHIP, () => bridge)).toBe(false);
  });
});

describe("decide()", () => {
  const at = { isAdoptable: false, maySweep: true };

  test("recreates a device that is ours but of the other type", () => {
    expect(decide({ desired: IPIP, actual: TUN, isOurs: true, ...at })).toEqual({
      kind: "recreate",
      steps: [{ op: "delete", resource: TUN }, { op: "set", resource: IPIP }],
      reason: "type is tun, not ipip",
    });
    expect(decide({ desired: TUN, actual: IPIP, isOurs: false, ...at })).toMatchObject({
      kind: "conflict",
    });
  });

  test("recreates a tunnel for another port, and changes its MTU in place", () => {
    const { fouPort: _, ...bare } = IPIP;
    expect(decide({ desired: IPIP, actual: bare, isOurs: true, ...at })).toMatchObject({
      reason: "FOU port is none, not 8285",
    });
    const small = { ...IPIP, mtuBytes: 1300 };
    expect(decide({ desired: IPIP, actual: small, isOurs: true, ...at })).toEqual({
      kind: "act",
      steps: [{ op: "change", resource: IPIP, from: small }],
    });
  });

  test("creates a policy exclusively, and leaves a foreign one with its key alone", () => {
    const { tunnel: _, ...plain } = POLICY;
    expect(decide({ desired: POLICY, actual: undefined, isOurs: false, ...at })).toEqual({
      kind: "act",
      steps: [{ op: "set", resource: POLICY, exclusive: true }],
    });
    expect(decide({ desired: POLICY, actual: plain, isOurs: false, ...at })).toMatchObject({
      kind: "conflict",
    });
  });
});

test("orderSteps() sets a device's key before its peers", () => {
  const set = [PEER, DEVICE, WIREGUARD].map((resource) => ({ op: "set", resource }) as const);
  expect(orderSteps(set).map(({ resource }) => resource.kind)).toEqual([
    "link",
    "wireguard-device",
    "wireguard-peer",
  ]);
});
