/** How this host reaches its peers: asks the kernel once, and again after a change. */

import { beforeEach, describe, expect, test } from "bun:test";
import { ReachabilitySource } from "../../../src/overlay/peer_reachability.ts";
import type { ExternalInterface } from "../../../src/host/external_interface.ts";
import type { Kernel, KernelEvent, RouteLookup } from "../../../src/kernel/kernel.ts";
import type { Resource, Route } from "../../../src/state/resource.ts";
import type { Lease } from "../../../src/subnet/lease.ts";
import {
  address,
  directRoute,
  foreignRoute,
  neighbour,
  OWNERSHIP,
  vxlanDevice,
} from "../../support/arbitrary_state.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { ETH0, external, HOST, ip, lease, prefix } from "../../support/sample_network.ts";

const PEER = lease(2, "host-gw", [4, 6]);

let answers: Map<string, RouteLookup>;
let asked: string[];
let notify: (event: KernelEvent) => void;
let isWatched: boolean;
let changes: number;
let source: ReachabilitySource;
/** Waited for before the kernel answers. */
let hold: Promise<void>;

beforeEach(() => {
  answers = new Map([["192.168.0.2", { link: "eth0", local: false }]]);
  asked = [];
  changes = 0;
  hold = Promise.resolve();
  isWatched = true;
  const kernel = {
    watch: (listener: (event: KernelEvent) => void) => {
      notify = listener;
      return { [Symbol.dispose]: () => void (isWatched = false) };
    },
    routeTo: async (to: string): Promise<RouteLookup> => {
      asked.push(to);
      const answer = answers.get(to) ?? { local: false };
      await hold;
      return answer;
    },
  } as unknown as Kernel;
  source = new ReachabilitySource({
    kernel,
    ownership: () => OWNERSHIP,
    external: () => external([4, 6]) as ExternalInterface,
    onChanged: () => void changes++,
  });
});

function changed(resource: Resource, deleted = false): void {
  notify({ kind: "changed", resource, deleted });
}

/** Whether the kernel is asked again about a peer that was known. */
async function asksAgainAfter(event: () => void): Promise<boolean> {
  await source.reachabilityOf(PEER);
  asked.length = 0;
  changes = 0;
  event();
  await source.reachabilityOf(PEER);
  return asked.length > 0;
}

describe("ReachabilitySource", () => {
  test.each<[string, RouteLookup, boolean, string]>([
    ["on our network", { link: "eth0", local: false }, true, "dev eth0"],
    [
      "behind a gateway",
      { link: "eth0", gateway: ip("192.168.0.254"), local: false },
      false,
      "via 192.168.0.254 dev eth0",
    ],
    ["on another interface", { link: "eth1", local: false }, false, "dev eth1"],
    ["on this host", { link: "lo", local: true }, false, "an address of this host"],
    [
      "on this host by the interface",
      { link: "eth0", local: true },
      false,
      "an address of this host",
    ],
  ])("says of a peer %s how it is reached", async (_where, answer, direct, way) => {
    answers.set("192.168.0.2", { ifindex: 99, ...answer } as RouteLookup);
    const found = await source.reachabilityOf(lease(2, "host-gw", [4]));
    expect(found).toEqual({ direct: { 4: direct }, path: { 4: way } });
  });

  test("asks once for each family that the peer has", async () => {
    answers.set("fd00::2", { link: "eth1", local: false, ifindex: 7 } as RouteLookup);
    const found = await source.reachabilityOf(PEER);
    expect(found.path).toEqual({ 4: "dev eth0", 6: "dev eth1" });
    await source.reachabilityOf(PEER);
    expect(asked).toEqual(["192.168.0.2", "fd00::2"]);
  });

  test("reports that there is no route", async () => {
    answers.set("192.168.0.2", { local: false, ifindex: 99 } as RouteLookup);
    const found = await source.reachabilityOf(lease(2, "host-gw", [4]));
    expect(found.path).toEqual({ 4: "unreachable" });
    expect(found.direct).toEqual({ 4: false });
  });

  test("forgets a peer that is gone", async () => {
    expect(await asksAgainAfter(() => source.forget(PEER))).toBe(true);
    expect(asked).toEqual(["192.168.0.2", "fd00::2"]);
    expect(await asksAgainAfter(() => source.forget(lease(3, "host-gw", [4])))).toBe(false);
    expect(changes).toBe(0);
  });

  test.each<[string, () => void]>([
    ["notifications were lost", () => notify({ kind: "overrun" })],
    ["the external interface changed", () => changed({ ...ETH0, up: false })],
    ["an address came", () => changed({ ...address(7), link: "eth1" })],
    ["an address went", () => changed({ ...address(7), link: "eth0" }, true)],
    ["it was invalidated", () => source.invalidate()],
  ])("asks again for all after %s", async (_what, event) => {
    expect(await asksAgainAfter(event)).toBe(true);
    expect(asked).toEqual(["192.168.0.2", "fd00::2"]);
    expect(changes).toBe(1);
  });

  test.each<[string, () => void]>([
    ["another interface changed", () => changed({ ...ETH0, name: "eth1", up: false })],
    ["our own device has another address", () => changed(address(7))],
    ["our own device changed", () => changed(vxlanDevice("flannel.1"))],
    ["a route of ours changed", () => changed(directRoute(2))],
    ["a neighbour changed", () => changed({ ...neighbour(2, 2), link: "eth0" })],
    ["a route to elsewhere changed", () => changed(foreignRoute(2))],
  ])("does not ask again after %s", async (_what, event) => {
    expect(await asksAgainAfter(event)).toBe(false);
    expect(changes).toBe(0);
  });

  test("asks again only for the addresses within a route that changed", async () => {
    const route = { ...foreignRoute(2), destination: prefix("192.168.0.0/24") };
    expect(await asksAgainAfter(() => changed(route))).toBe(true);
    expect(asked).toEqual(["192.168.0.2"]);
    expect(changes).toBe(1);
  });

  test.each<[string, () => void]>([
    ["a route changed", () => changed(foreignRoute(2))],
    ["everything may have changed", () => notify({ kind: "overrun" })],
  ])("does not keep the result of a look-up during which %s", async (_what, event) => {
    const answered = Promise.withResolvers<void>();
    hold = answered.promise;
    const found = source.reachabilityOf(lease(2, "host-gw", [4]));
    event();
    answered.resolve();
    expect((await found).path).toEqual({ 4: "dev eth0" });
    await source.reachabilityOf(lease(2, "host-gw", [4]));
    expect(asked).toEqual(["192.168.0.2", "192.168.0.2"]);
  });

  test("no longer watches the kernel when it is disposed", () => {
    source[Symbol.dispose]();
    expect(isWatched).toBe(false);
  });
});

const DEFAULT_ROUTE: Route = {
  ...directRoute(1, 3),
  destination: prefix("0.0.0.0/0"),
  gateway: ip("192.168.0.254"),
};

/** A node with the public address 172.16.0.n, behind the default gateway. */
function farLease(n: number): Lease {
  const near = lease(n, "", [4]);
  return {
    ...near,
    attributes: { ...near.attributes, publicAddresses: { 4: ip(`172.16.0.${n}`) } },
  };
}

describe("ReachabilitySource over the tables of a kernel", () => {
  let kernel: FakeKernel;

  beforeEach(() => {
    kernel = new FakeKernel();
    kernel.seed(...HOST, DEFAULT_ROUTE);
    kernel.delivery = "now";
    source = new ReachabilitySource({
      kernel,
      ownership: () => ({
        links: new Set(["flannel.1"]),
        linkTypes: new Set(["vxlan"]),
        networks: [prefix("10.5.0.0/16")],
        routeLink: "eth0",
      }),
      external: () => ({ name: "eth0", ifindex: 2 }),
      onChanged: () => void changes++,
    });
  });

  test("asks the kernel once for each peer", async () => {
    for (let i = 0; i < 3; i++) {
      expect(await source.reachabilityOf(lease(2, "host-gw", [4]))).toEqual({
        direct: { 4: true },
        path: { 4: "dev eth0" },
      });
    }
    expect(kernel.lookUps).toBe(1);
  });

  test("reaches no peer directly by another interface, a gateway or on this host", async () => {
    kernel.seed({ ...ETH0, name: "eth1" }, {
      kind: "address",
      link: "eth1",
      address: ip("172.16.0.1"),
      prefixLength: 24,
    });
    expect((await source.reachabilityOf(farLease(2))).direct[4]).toBe(false);
    expect((await source.reachabilityOf(farLease(1))).path[4]).toBe("an address of this host");
    const remote = { ...farLease(1), attributes: { ...farLease(1).attributes } };
    const publicAddresses = { 4: ip("8.8.8.8") };
    const away = { ...remote, attributes: { ...remote.attributes, publicAddresses } };
    expect(await source.reachabilityOf(away)).toEqual({
      direct: { 4: false },
      path: { 4: "via 192.168.0.254 dev eth0" },
    });
  });

  test("asks again only for the addresses within a route that changed", async () => {
    await source.reachabilityOf(lease(2, "", [4]));
    await source.reachabilityOf(farLease(3));
    const route = { ...DEFAULT_ROUTE, destination: prefix("172.16.0.0/16") };
    kernel.outside({ op: "set", resource: route });
    expect(changes).toBe(1);
    await source.reachabilityOf(lease(2, "", [4]));
    await source.reachabilityOf(farLease(3));
    expect(kernel.lookUps).toBe(3);
  });

  test("ignores our own routes, even to the public address of a peer", async () => {
    const within = { ...farLease(2).attributes, publicAddresses: { 4: ip("10.5.2.7") } };
    await source.reachabilityOf({ ...farLease(2), attributes: within });
    kernel.outside({ op: "set", resource: directRoute(2) });
    expect(changes).toBe(0);
  });

  test("asks again after the external interface went down or notifications were lost", async () => {
    await source.reachabilityOf(lease(2, "", [4]));
    kernel.setLinkState("eth0", "down");
    expect((await source.reachabilityOf(lease(2, "", [4]))).direct[4]).toBe(false);
    kernel.setLinkState("eth0", "up");
    kernel.overrun();
    expect((await source.reachabilityOf(lease(2, "", [4]))).direct[4]).toBe(true);
    expect(changes).toBeGreaterThanOrEqual(3);
  });

  test("reaches a peer directly by an external interface that has just been renamed", async () => {
    kernel.routeTo = () => Promise.resolve({ link: "lan0", ifindex: 2, local: false });
    expect((await source.reachabilityOf(lease(2, "", [4]))).direct[4]).toBe(true);
    kernel.routeTo = () => Promise.resolve({ link: "lan0", ifindex: 3, local: false });
    expect((await source.reachabilityOf(lease(3, "", [4]))).direct[4]).toBe(false);
  });

  test("does not keep the result of a look-up during which a route changed", async () => {
    const pending = source.reachabilityOf(lease(2, "", [4]));
    kernel.outside({
      op: "set",
      resource: { ...DEFAULT_ROUTE, destination: prefix("192.168.0.2/32") },
    });
    await pending;
    expect((await source.reachabilityOf(lease(2, "", [4]))).direct[4]).toBe(false);
  });
});
