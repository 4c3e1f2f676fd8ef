/** Which entries are ours, field by field: all others are left alone. */

import { describe, expect, test } from "bun:test";
import { isOurs, mayAdopt, owns } from "../../../src/state/ownership.ts";
import type { Link, Resource } from "../../../src/state/resource.ts";
import {
  address,
  directRoute,
  fdb,
  neighbour,
  OWNERSHIP,
  tunnelRoute,
  tunnelRouteV6,
  vxlanDevice,
} from "../../support/arbitrary_state.ts";
import { ETH0, ip, prefix } from "../../support/sample_network.ts";

const ours = (resource: Resource) => isOurs(resource, OWNERSHIP);

describe("isOurs()", () => {
  test("recognizes entries on our devices as ours, and those on others as foreign", () => {
    const onOurs: Resource[] = [
      vxlanDevice("flannel.1"),
      address(1),
      neighbour(2, 2),
      fdb(2, 2),
      tunnelRoute(2),
      { kind: "wireguard-device", link: "flannel.1", privateKey: "k" as never, listenPort: 1 },
    ];
    for (const resource of onOurs) {
      const elsewhere = resource.kind === "link"
        ? { ...resource, name: "eth1" }
        : { ...resource, link: "eth1", protocol: 3 };
      expect([ours(resource), ours(elsewhere as Resource)]).toEqual([true, false]);
    }
  });

  test("leaves link-local IPv6 addresses to the kernel; all others on our devices are ours", () => {
    const on = (text: string, prefixLength: number): Resource => ({
      kind: "address",
      link: "flannel-v6.1",
      address: ip(text),
      prefixLength,
    });
    expect(ours(on("fe80::1", 64))).toBe(false);
    expect(ours(on("fc00:0:0:1::", 128))).toBe(true);
    // Only an administrator gives our device one of these.
    expect(ours(on("169.254.0.1", 16))).toBe(true);
  });

  test("never owns a sysctl: it always has some value", () => {
    const path = "net/ipv6/conf/flannel-v6.1/accept_ra";
    expect(ours({ kind: "sysctl", path, value: "0" })).toBe(false);
  });

  test("owns no FOU port that this program did not open", () => {
    expect(ours({ kind: "fou", port: 8285, protocol: 4 })).toBe(false);
  });

  test("owns only routes of the main table, and none that the kernel created", () => {
    expect(ours({ ...tunnelRoute(2), table: 100 })).toBe(false);
    expect(ours({ ...tunnelRoute(2), protocol: 2 })).toBe(false);
    expect(ours({ ...tunnelRoute(2), protocol: 3 })).toBe(true);
    expect(ours({ ...directRoute(2), table: 100 })).toBe(false);
  });

  test("owns a route by another device that has our protocol and lies in our networks", () => {
    expect(ours(directRoute(2))).toBe(true);
    expect(ours({ ...directRoute(2), protocol: 3 })).toBe(false);
    expect(ours({ ...directRoute(2), destination: prefix("10.6.2.0/24") })).toBe(false);
    expect(ours({ ...tunnelRouteV6(2), link: "eth0" })).toBe(true);
  });

  test("owns a blackhole by its protocol, because it has no device", () => {
    const { link: _, gateway: __, ...rest } = directRoute(2);
    const blackhole: Resource = { ...rest, type: "blackhole" };
    expect(ours(blackhole)).toBe(true);
    expect(ours({ ...blackhole, protocol: 4 })).toBe(false);
  });
});

describe("owns()", () => {
  const bridge: Link = { ...ETH0, name: "flannel.1", linkKind: "bridge" };
  const seenWith = (link: Link | undefined) => (resource: Resource) =>
    owns(resource, OWNERSHIP, (name) => name === "flannel.1" ? link : undefined);

  test("owns no device of another type, whatever its name", () => {
    expect(seenWith(bridge)(bridge)).toBe(false);
    expect(seenWith(undefined)(vxlanDevice("flannel.1"))).toBe(true);
  });

  test("owns the entries on our device while the device is unknown or of our type", () => {
    expect(seenWith(undefined)(address(1))).toBe(true);
    expect(seenWith(vxlanDevice("flannel.1"))(address(1))).toBe(true);
    expect(seenWith(bridge)(address(1))).toBe(false);
  });

  test("does not look up the device of an entry that is ours without it", () => {
    const ask = () => {
      throw new Error("asked");
    };
    expect(owns(directRoute(2), OWNERSHIP, ask)).toBe(true);
    const { link: _, gateway: __, ...rest } = directRoute(2);
    expect(owns({ ...rest, type: "blackhole" }, OWNERSHIP, ask)).toBe(true);
  });
});

describe("mayAdopt()", () => {
  const THEIRS = directRoute(2, 3); // As Go flannel's host-gw makes them.

  test("adopts a route of Go flannel", () => {
    expect(mayAdopt(THEIRS, OWNERSHIP)).toBe(true);
  });

  test.each<[string, Partial<typeof THEIRS>]>([
    ["a blackhole", { type: "blackhole" }],
    ["one in another table", { table: 100 }],
    ["one of a routing daemon", { protocol: 186 }],
    ["one by another interface", { link: "eth1" }],
    ["one to another network", { destination: prefix("10.6.2.0/24") }],
  ])("leaves %s alone", (_what, change) => {
    expect(mayAdopt({ ...THEIRS, ...change }, OWNERSHIP)).toBe(false);
  });

  test("adopts routes only, and none without a device where there is no interface", () => {
    expect(mayAdopt(address(1), OWNERSHIP)).toBe(false);
    const alike = { ...THEIRS, kind: "neighbour" } as unknown as Resource;
    expect(mayAdopt(alike, OWNERSHIP)).toBe(false);
    const { link: _, ...deviceless } = THEIRS;
    expect(mayAdopt(deviceless, { ...OWNERSHIP, routeLink: undefined })).toBe(false);
  });
});
