/** When the endpoint of a peer is left alone, and what a change of a peer contains. */

import { expect, test } from "bun:test";
import fc from "fast-check";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import { type WireguardKey, ZERO_KEY } from "../../../src/addr/wireguard_key.ts";
import type { WireguardPeerState } from "../../../src/kernel/wireguard/wireguard_driver.ts";
import {
  assignedEndpoint,
  changedPeer,
  peerChange,
  peerResource,
  sameReading,
} from "../../../src/kernel/wireguard/wireguard_peers.ts";
import type { WireguardPeer } from "../../../src/state/resource.ts";
import { sameResource } from "../../../src/state/same_resource.ts";

const NOW_MS = 1_800_000_000_000;
const GIVEN = "192.0.2.2:51820";

const DESIRED = peer({ endpoint: endpoint("192.0.2.2") });
const LEARNED = endpoint("203.0.113.9");

test("a peer in touch from another endpoint than the assigned one has roamed: in sync", () => {
  const found = read({ endpoint: LEARNED, lastHandshakeMs: NOW_MS - 179_000 }, GIVEN);
  expect(found.roamed).toBe(true);
  expect(sameResource(DESIRED, found)).toBe(true);
});

test("a peer without a handshake for 180 s has not roamed, and its endpoint is restored", () => {
  for (const lastHandshakeMs of [0, NOW_MS - 180_000]) {
    const found = read({ endpoint: LEARNED, lastHandshakeMs }, GIVEN);
    expect(found.roamed).toBeUndefined();
    expect(sameResource(DESIRED, found)).toBe(false);
    expect(change(DESIRED, found, GIVEN).endpoint as unknown).toEqual(DESIRED.endpoint);
  }
});

test("after a restart, the endpoint of a peer in touch is left alone: none was assigned", () => {
  const handshake = { lastHandshakeMs: NOW_MS - 1000 };
  expect(read({ endpoint: LEARNED, ...handshake }, undefined).roamed).toBe(true);
  expect(read({ endpoint: LEARNED, lastHandshakeMs: 0 }, undefined).roamed).toBeUndefined();
});

test("a peer at its assigned endpoint has not roamed", () => {
  const found = read({ endpoint: endpoint("192.0.2.2"), lastHandshakeMs: NOW_MS }, GIVEN);
  expect(found.roamed).toBeUndefined();
});

test("a peer without an assigned endpoint may have any", () => {
  const bare = peer({});
  const found = read({ endpoint: LEARNED, lastHandshakeMs: 0 }, assignedEndpoint(bare));
  expect(sameResource(bare, found)).toBe(true);
  expect(read({}, assignedEndpoint(bare)).roamed).toBeUndefined();
});

test("only the change of the endpoint itself discards a learned one", () => {
  const found = read({ endpoint: LEARNED, lastHandshakeMs: NOW_MS }, GIVEN);
  const otherKeepalive = { ...DESIRED, keepaliveSeconds: 25 };
  const kept = change(otherKeepalive, found, GIVEN);
  expect(kept).not.toHaveProperty("endpoint");
  expect(changedPeer(otherKeepalive, found, kept))
    .toEqual({ ...otherKeepalive, endpoint: LEARNED, roamed: true });
  const moved = { ...DESIRED, endpoint: endpoint("192.0.2.3") };
  const set = change(moved, found, GIVEN);
  expect(set.endpoint as unknown).toEqual(moved.endpoint);
  expect(changedPeer(moved, found, set)).toEqual(moved);
});

test("a change contains only new allowed IPs, unless one must be removed", () => {
  const actual = peer({ allowedIps: ["10.5.1.0/24", "10.5.2.0/24"] });
  const allowed = (allowedIps: string[]) => {
    const { allowedIps: named, replaceAllowedIps } = change(peer({ allowedIps }), actual, GIVEN);
    return { named: named.map(String), replaceAllowedIps };
  };
  expect(allowed(["10.5.1.0/24", "10.5.2.0/24"])).toEqual({ named: [], replaceAllowedIps: false });
  expect(allowed(["10.5.1.0/24", "10.5.2.0/24", "fc00::/64"]))
    .toEqual({ named: ["fc00::/64"], replaceAllowedIps: false });
  expect(allowed(["10.5.1.0/24"])).toEqual({ named: ["10.5.1.0/24"], replaceAllowedIps: true });
  expect(allowed([])).toEqual({ named: [], replaceAllowedIps: true });
});

test("an unknown peer is created with all its attributes", () => {
  expect(peerChange(DESIRED, undefined, undefined)).toEqual({
    op: "set",
    publicKey: DESIRED.publicKey,
    presharedKey: ZERO_KEY,
    endpoint: endpoint("192.0.2.2"),
    keepaliveSeconds: 0,
    updateOnly: false,
    allowedIps: DESIRED.allowedIps,
    replaceAllowedIps: true,
  });
});

test("a change leads from any allowed IPs to those desired", () => {
  const some = fc.uniqueArray(fc.constantFrom(..."abcdef"), { maxLength: 6 });
  fc.assert(fc.property(some, some, (before, after) => {
    const { allowedIps, replaceAllowedIps } = change(
      peer({ allowedIps: after }),
      peer({ allowedIps: before }),
      GIVEN,
    );
    const result = new Set([...replaceAllowedIps ? [] : before, ...allowedIps.map(String)]);
    expect([...result].sort()).toEqual(after.toSorted());
  }));
});

test("readings that differ only in `roamed` are different", () => {
  const roamed = { ...DESIRED, roamed: true } as const;
  expect(sameReading(DESIRED, { ...DESIRED })).toBe(true);
  expect(sameReading(roamed, { ...roamed, endpoint: LEARNED })).toBe(true);
  expect(sameReading(roamed, DESIRED)).toBe(false);
  expect(sameReading(DESIRED, roamed)).toBe(false);
});

interface PeerChanges {
  readonly endpoint?: WireguardPeer["endpoint"];
  readonly allowedIps?: readonly string[];
}

function peer({ endpoint, allowedIps = ["10.5.2.0/24"] }: PeerChanges): WireguardPeer {
  return {
    kind: "wireguard-peer",
    link: "flannel-wg",
    publicKey: "uFmW/sycfx/G0lcqdu2hHVm80gvo5UOxXOS9hajnWjM=" as WireguardKey,
    ...(endpoint === undefined ? {} : { endpoint }),
    keepaliveSeconds: 0,
    allowedIps: allowedIps as readonly Prefix[],
  };
}

function read(reading: Partial<WireguardPeerState>, given: string | undefined): WireguardPeer {
  const { publicKey, keepaliveSeconds, allowedIps } = DESIRED;
  const whole = { publicKey, keepaliveSeconds, allowedIps, lastHandshakeMs: 0, ...reading };
  return peerResource("flannel-wg", whole, given, NOW_MS);
}

function change(desired: WireguardPeer, actual: WireguardPeer, given: string) {
  const change = peerChange(desired, actual, given);
  if (change.op !== "set") throw new Error("a peer is set");
  return change;
}

function endpoint(address: string) {
  return { address: address as IpAddress, port: 51820 };
}
