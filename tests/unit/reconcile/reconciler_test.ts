import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { KernelError } from "../../../src/kernel/kernel.ts";
import { Reconciler, type ReconcilerScope } from "../../../src/reconcile/reconciler.ts";
import { resourceText } from "../../../src/state/resource_text.ts";
import type { Link, Resource } from "../../../src/state/resource.ts";
import {
  address,
  directRoute,
  fdb,
  foreignRoute,
  neighbour,
  OWNERSHIP,
  tunnelRoute,
  tunnelRouteV6,
  UNDERLAY,
  vxlanDevice,
} from "../../support/arbitrary_state.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { ETH0, ip, mac } from "../../support/sample_network.ts";

const SCOPE: ReconcilerScope = { ownership: OWNERSHIP, external: "eth0" };
const DEVICE = vxlanDevice("flannel.1");
const DEVICE_V6 = vxlanDevice("flannel-v6.1");
const NODE: readonly Resource[] = [
  DEVICE,
  DEVICE_V6,
  { kind: "sysctl", path: "net/ipv6/conf/flannel-v6.1/accept_ra", value: "0" },
  address(1),
];

function peer(n: number): Resource[] {
  return [neighbour(n, n), fdb(n, n), tunnelRoute(n)];
}

let kernel: FakeKernel;
let clock: FakeClock;
let records: LogRecord[];
let reconciler: Reconciler;
let external: string[];

beforeEach(() => {
  kernel = new FakeKernel();
  kernel.seed(...UNDERLAY);
  clock = new FakeClock(() => 0.5);
  const collecting = collectingLog();
  records = collecting.records;
  external = [];
  reconciler = new Reconciler({
    kernel,
    log: collecting.log,
    clock,
    onExternalChanged: (reason) => void external.push(reason),
    readSysctl: (path) => {
      const found = [...kernel.table.values()].find((r) => r.kind === "sysctl" && r.path === path);
      return Promise.resolve(found?.kind === "sysctl" ? `${found.value}\n` : undefined);
    },
  });
});

afterEach(async () => {
  await reconciler[Symbol.asyncDispose]();
});

function warnings(): string[] {
  return records.filter(({ level }) => ["warn", "error", "fatal"].includes(level))
    .map(({ msg }) => msg);
}

/** The repairs of entries that another program had changed, as the log shows them. */
function repairs(): string[] {
  return records.filter(({ level }) => level === "debug").map(({ msg }) => msg);
}

/** A node with these peers, in sync. */
async function running(...peers: number[]): Promise<void> {
  reconciler.start(SCOPE);
  reconciler.setDesired("node", NODE);
  for (const n of peers) reconciler.setDesired(`peer ${n}`, peer(n), BigInt(n));
  reconciler.allowSweep();
  await clock.advance(1000);
  await expectInSync();
  kernel.takeAsked();
}

/** Everything possible has been applied, and nothing failed. */
async function expectInSync(): Promise<void> {
  let isSettled = false;
  void reconciler.whenSettled().then(() => isSettled = true);
  await Promise.resolve();
  expect({ isSettled, ...reconciler.status() }).toEqual({
    isSettled: true,
    failing: [],
    conflicts: [],
  });
}

/** The kernel holds exactly these entries of ours. */
function expectOurs(...resources: Resource[]): void {
  const ours = new Set([...NODE, ...resources].map(resourceText));
  const isOther = (r: Resource) =>
    UNDERLAY.some((other) => resourceText(other) === resourceText(r));
  expect(kernel.text((r) => !isOther(r)).trimEnd().split("\n").sort()).toEqual([...ours].sort());
}

describe("Reconciler", () => {
  test("a response that never arrives causes a full dump, and loses no entry", async () => {
    await running(2, 3);
    const fail = () => {
      kernel.betweenSteps = () => {};
      throw new KernelError({ operation: "receive over netlink", errno: "ENOBUFS" });
    };
    kernel.betweenSteps = fail;
    reconciler.setDesired("peer 4", peer(4), 4n);
    reconciler.removeOwner("peer 2");
    await clock.advance(5000);
    expectOurs(...peer(3), ...peer(4));
    kernel.betweenSteps = (done) => done === 2 ? fail() : undefined;
    reconciler.setDesired("peer 5", peer(5), 5n);
    await clock.advance(5000);
    expectOurs(...peer(3), ...peer(4), ...peer(5));
    await expectInSync();
    expect(repairs()).toEqual([]);
  });

  test("EACCES causes a dump: the sysctl behind it is not announced", async () => {
    await running(2);
    const dumpsAfter = async (errno: string) => {
      kernel.takeAsked();
      kernel.refuse = () => {
        kernel.refuse = () => undefined;
        return errno;
      };
      reconciler.setDesired("peer 3", peer(3), 3n);
      await clock.advance(5000);
      expectOurs(...peer(2), ...peer(3));
      const { dumps } = kernel;
      reconciler.removeOwner("peer 3");
      await clock.advance(1000);
      return dumps;
    };
    expect(await dumpsAfter("ENOBUFS")).toBe(0);
    expect(await dumpsAfter("EACCES")).toBe(1);
  });

  test("creates the desired entries, and sends nothing after another dump", async () => {
    await running(2, 3);
    expectOurs(...peer(2), ...peer(3));
    reconciler.setScope(SCOPE);
    await clock.advance(1000);
    expect(kernel.takeAsked()).toEqual([]);
  });

  test("adopts the entries of a previous run without a step", async () => {
    kernel.seed(...NODE, ...peer(2));
    reconciler.start(SCOPE);
    reconciler.setDesired("node", NODE);
    reconciler.setDesired("peer 2", peer(2));
    await clock.advance(1000);
    expect(kernel.takeAsked()).toEqual([]);
    await expectInSync();
  });

  test("changes one lease among many with the steps for one lease, and no dump", async () => {
    await running(2, 3, 4, 5, 6, 7, 8);
    reconciler.setDesired("peer 4", [neighbour(4, 44), fdb(44, 4), tunnelRoute(4)], 9n);
    await clock.advance(100);
    expect(kernel.dumps).toBe(0);
    expect(kernel.takeAsked().sort()).toEqual([
      "delete fdb 02:00:00:00:00:04 dev flannel.1 dst 192.168.0.4 self permanent",
      "set fdb 02:00:00:00:00:2c dev flannel.1 dst 192.168.0.4 self permanent",
      "set neigh 10.5.4.0 lladdr 02:00:00:00:00:2c dev flannel.1 nud permanent",
    ]);
  });

  test("deletes the entries of a peer that left, routes first", async () => {
    await running(2, 3);
    reconciler.removeOwner("peer 3");
    await clock.advance(100);
    expect(kernel.takeAsked()[0]).toStartWith("delete route 10.5.3.0/24");
    expectOurs(...peer(2));
  });

  test("applies a change at once after a quiet time, in one batch", async () => {
    await running();
    reconciler.setDesired("peer 2", peer(2));
    reconciler.setDesired("peer 3", peer(3));
    expect(kernel.batches).toBe(0);
    await clock.advance(0);
    expect(kernel.batches).toBe(1);
    expectOurs(...peer(2), ...peer(3));
  });

  test("coalesces changes in quick succession into one batch", async () => {
    await running();
    for (let n = 2; n < 12; n++) {
      reconciler.setDesired(`peer ${n}`, peer(n));
      await clock.advance(1);
    }
    await clock.advance(100);
    expect(kernel.batches).toBe(2);
  });

  test("does not wait for ever when changes keep arriving", async () => {
    await running();
    for (let n = 2; n < 32; n++) {
      reconciler.setDesired(`peer ${n}`, peer(n));
      await clock.advance(4);
    }
    expect(kernel.batches).toBeGreaterThanOrEqual(2);
  });

  test("recreates an incompatible device with all entries on it, and logs why", async () => {
    kernel.seed({ ...DEVICE, port: 4789 } as Link, ...NODE.slice(1), ...peer(2), ...peer(3));
    reconciler.start(SCOPE);
    reconciler.setDesired("node", NODE);
    reconciler.setDesired("peer 2", [...peer(2), ...peer(3)]);
    await clock.advance(1000);
    expectOurs(...peer(2), ...peer(3));
    expect(warnings()).toEqual([
      "recreating device flannel.1: port is 4789, not 8472",
    ]);
    await expectInSync();
  });

  test("deletes nothing before it may, then sweeps stale entries", async () => {
    kernel.seed(...NODE, ...peer(2), ...peer(9), directRoute(8), foreignRoute(7));
    reconciler.start(SCOPE);
    reconciler.setDesired("node", NODE);
    await clock.advance(600_000);
    expect(kernel.takeAsked()).toEqual([]);
    reconciler.setDesired("peer 2", peer(2));
    reconciler.allowSweep();
    await clock.advance(1000);
    expectOurs(...peer(2), foreignRoute(7));
  });

  test("keeps an entry that two leases desire until the last one is removed", async () => {
    await running();
    const shared = fdb(5, 2);
    reconciler.setDesired("a", [shared], 1n);
    reconciler.setDesired("b", [{ ...shared }], 2n);
    await clock.advance(100);
    reconciler.removeOwner("a");
    await clock.advance(100);
    expectOurs(shared);
    reconciler.removeOwner("b");
    await clock.advance(100);
    expectOurs();
    expect(warnings()).toEqual([]);
  });

  test("lets the newer of two leases with one MAC win, logs it once, and falls back", async () => {
    await running();
    reconciler.setDesired("new", [fdb(5, 3)], 7n);
    reconciler.setDesired("old", [fdb(5, 2)], 3n);
    reconciler.setDesired("old", [fdb(5, 2)], 3n);
    await clock.advance(100);
    expectOurs(fdb(5, 3));
    expect(warnings()).toEqual([
      "conflicting entries: " +
      "using fdb 02:00:00:00:00:05 dev flannel.1 dst 192.168.0.3 self permanent of new, " +
      "ignoring fdb 02:00:00:00:00:05 dev flannel.1 dst 192.168.0.2 self permanent of old",
    ]);
    reconciler.removeOwner("new");
    await clock.advance(100);
    expectOurs(fdb(5, 2));
  });

  test("sends nothing for late notifications of its own changes", async () => {
    await running();
    kernel.delivery = "held";
    reconciler.setDesired("peer 2", peer(2));
    await clock.advance(20);
    reconciler.setDesired("peer 2", [neighbour(2, 22), fdb(22, 2), tunnelRoute(2)]);
    await clock.advance(20);
    kernel.takeAsked();
    for (let i = 0; i < 10; i++) {
      kernel.deliver(1);
      await clock.advance(20);
    }
    await clock.advance(1000);
    expect(kernel.takeAsked()).toEqual([]);
    await expectInSync();
    expect(repairs()).toEqual([]);
  });

  test("yields between the chunks of a large change", async () => {
    await running();
    const many = Array.from({ length: 5000 }, (_, i): Resource => ({
      ...neighbour(1, 2),
      address: ip(`10.5.${i >> 8}.${i & 255}`),
    }));
    let yields = 0;
    const original = clock.yield;
    clock.yield = () => (yields++, original());
    reconciler.setDesired("many", many);
    await clock.advance(100);
    expect(kernel.takeAsked()).toHaveLength(5000);
    expect(yields).toBe(3); // One of them before the first chunk.
  });

  test("settles when everything possible is applied", async () => {
    let isSettled = false;
    reconciler.start(SCOPE);
    reconciler.setDesired("node", NODE);
    const settled = reconciler.whenSettled().then(() => isSettled = true);
    await clock.advance(1);
    expect(isSettled).toBe(false);
    await clock.advance(100);
    await settled;
    expectOurs();
  });

  test("leaves the kernel tables unchanged when it stops", async () => {
    await running(2);
    await reconciler[Symbol.asyncDispose]();
    kernel.outside({ op: "delete", resource: tunnelRoute(2) });
    await clock.advance(600_000);
    expect(kernel.takeAsked()).toEqual([]);
  });
});

describe("Reconciler, when another program changes the kernel,", () => {
  const drifts: [string, () => void][] = [
    ["a route is deleted", () => kernel.outside({ op: "delete", resource: tunnelRoute(2) })],
    ["a neighbour is deleted", () => kernel.outside({ op: "delete", resource: neighbour(2, 2) })],
    ["a neighbour is changed", () => kernel.outside({ op: "set", resource: neighbour(2, 9) })],
    ["a forwarding entry is deleted", () => kernel.outside({ op: "delete", resource: fdb(2, 2) })],
    ["a forwarding entry is changed", () => kernel.outside({ op: "set", resource: fdb(2, 9) })],
    [
      "a route on our device is replaced",
      () => kernel.outside({ op: "set", resource: { ...tunnelRoute(2), gateway: ip("10.5.9.0") } }),
    ],
    [
      "a stray route is added to our device",
      () => kernel.outside({ op: "set", resource: tunnelRoute(9, 3) }),
    ],
    [
      "the device's address is deleted, and with it, silently, its routes",
      () => kernel.outside({ op: "delete", resource: address(1) }),
    ],
    ["a stray address is added", () => kernel.outside({ op: "set", resource: address(9) })],
    ["the device is deleted", () => kernel.outside({ op: "delete", resource: DEVICE })],
    [
      "the device is set down, which drops its routes silently",
      () => kernel.setLinkState("flannel.1", "down"),
    ],
    ["the IPv6 device is set down", () => kernel.setLinkState("flannel-v6.1", "down")],
    ["the device is set down and up", () => {
      kernel.setLinkState("flannel.1", "down");
      kernel.setLinkState("flannel.1", "up");
    }],
    [
      "the device's MTU is changed",
      () => kernel.outside({ op: "change", resource: { ...DEVICE, mtuBytes: 1300 }, from: DEVICE }),
    ],
    [
      "the device's MAC is changed",
      () => kernel.outside({ op: "change", resource: { ...DEVICE, mac: mac(99) }, from: DEVICE }),
    ],
    ["another program deletes and recreates the device", () => {
      kernel.outside({ op: "delete", resource: DEVICE });
      kernel.outside({ op: "set", resource: { ...DEVICE, mac: mac(77) } });
    }],
    ["a notification of a deletion is lost", () => {
      kernel.delivery = "held";
      kernel.outside({ op: "delete", resource: tunnelRoute(2) });
      kernel.overrun();
      kernel.delivery = "soon";
    }],
  ];
  for (const [what, drift] of drifts) {
    test(`restores everything within a second after ${what}`, async () => {
      await running(2, 3);
      reconciler.setDesired("v6", [tunnelRouteV6(2)]);
      await clock.advance(100);
      drift();
      await clock.advance(1000);
      expectOurs(...peer(2), ...peer(3), tunnelRouteV6(2));
      await expectInSync();
      expect(repairs()).not.toEqual([]);
    });
  }

  test("repairs one route with one step and no dump", async () => {
    await running(2, 3, 4);
    kernel.outside({ op: "delete", resource: tunnelRoute(3) });
    await clock.advance(100);
    expect(kernel.dumps).toBe(0);
    expect(kernel.takeAsked()).toEqual([
      "set route 10.5.3.0/24 via 10.5.3.0 dev flannel.1 proto 70 onlink",
    ]);
    expect(repairs()).toEqual([
      "repaired: route 10.5.3.0/24 via 10.5.3.0 dev flannel.1 proto 70 onlink",
    ]);
  });

  test("finds a change without a notification by its periodic dump", async () => {
    await running(2);
    kernel.table.delete([...kernel.table].find(([, r]) => r.kind === "route")?.[0] as never);
    await clock.advance(330_000);
    expectOurs(...peer(2));
  });

  test("finds a changed sysctl by its periodic dump", async () => {
    await running();
    kernel.outside({ op: "set", resource: { ...NODE[2], value: "1" } as Resource });
    await clock.advance(330_000);
    expectOurs();
  });

  test("restores direct routes after the underlay went down and up", async () => {
    await running();
    reconciler.setDesired("direct", [directRoute(2), directRoute(3)]);
    await clock.advance(100);
    kernel.takeAsked();
    kernel.setLinkState("eth0", "down");
    await clock.advance(1000);
    expect(kernel.text(({ kind }) => kind === "route")).not.toContain("dev eth0 proto 70");
    expect(kernel.takeAsked()).toEqual([]);
    kernel.setLinkState("eth0", "up");
    await clock.advance(1000);
    expectOurs(directRoute(2), directRoute(3));
    expect(external).toEqual(["down", "up"]);
  });

  test("recreates everything when the underlay was deleted and came back later", async () => {
    await running(2);
    kernel.outside({ op: "delete", resource: ETH0 });
    await clock.advance(5000);
    expect(kernel.text(({ kind }) => kind === "link")).not.toContain("flannel");
    kernel.outside({ op: "set", resource: ETH0 });
    kernel.outside({ op: "set", resource: UNDERLAY[2] as Resource });
    await clock.advance(1000);
    expectOurs(...peer(2));
    expect(external).toEqual([
      "deleted",
      "created",
      "up",
      "address 192.168.0.1 set",
    ]);
  });

  test("reports a new MTU of the external interface, and changes nothing itself", async () => {
    await running(2);
    kernel.outside({ op: "change", resource: { ...ETH0, mtuBytes: 1400 }, from: ETH0 });
    await clock.advance(1000);
    expect(external).toEqual(["MTU 1400"]);
    expect(kernel.takeAsked()).toEqual([]);
  });

  test("damps repairs of an entry that another program keeps changing", async () => {
    await running(2);
    const theirs: Resource = { ...tunnelRoute(2), gateway: ip("10.5.9.0") };
    let repairCount = 0;
    kernel.watch((event) => {
      const isOurs = event.kind === "changed" && event.resource.kind === "route" &&
        event.resource.gateway === "10.5.2.0" && !event.deleted;
      if (!isOurs) return;
      repairCount++;
      kernel.outside({ op: "set", resource: theirs });
    });
    kernel.outside({ op: "set", resource: theirs });
    await clock.advance(600_000);
    expect(repairCount).toBeGreaterThan(5);
    expect(repairCount).toBeLessThan(40);
    expect(reconciler.status().failing).toHaveLength(1);
    expect(reconciler.status().failing[0]?.error).toContain(
      "another program keeps modifying it",
    );
    expect(warnings()[0]).toContain("via 10.5.9.0 dev flannel.1");
    expect(warnings().length).toBeLessThan(40);
  });
});

describe("Reconciler, when the kernel refuses,", () => {
  test("reports a foreign route with our key, and sets ours when it is deleted", async () => {
    kernel.seed(foreignRoute(2));
    await running();
    reconciler.setDesired("direct", [directRoute(2), directRoute(3)]);
    await clock.advance(60_000);
    expectOurs(directRoute(3), foreignRoute(2));
    expect(reconciler.status().conflicts).toMatchObject([{
      text: "route 10.5.2.0/24 via 192.168.0.2 dev eth0 proto 70",
      error: "conflicts with an existing entry not owned by flanneld: " +
        "route 10.5.2.0/24 dev eth1 proto 4 scope link",
    }]);
    expect(kernel.takeAsked().length).toBeLessThan(5);
    kernel.outside({ op: "delete", resource: foreignRoute(2) });
    await clock.advance(1000);
    expectOurs(directRoute(2), directRoute(3));
    await expectInSync();
  });

  test("never deletes a foreign route with our key, even if ours is undesired", async () => {
    await running();
    reconciler.setDesired("direct", [directRoute(2)]);
    await clock.advance(100);
    kernel.outside({ op: "set", resource: foreignRoute(2) });
    await clock.advance(1000);
    reconciler.removeOwner("direct");
    await clock.advance(600_000);
    expectOurs(foreignRoute(2));
    await expectInSync();
  });

  test("leaves a bridge with our device's name alone, and waits for its deletion", async () => {
    const bridge: Link = { ...ETH0, name: "flannel.1", linkKind: "bridge" };
    kernel.seed(bridge);
    reconciler.start(SCOPE);
    reconciler.setDesired("node", [DEVICE, address(1)]);
    reconciler.setDesired("peer 2", peer(2));
    reconciler.allowSweep();
    await clock.advance(60_000);
    expect(kernel.takeAsked()).toEqual([]);
    expect(reconciler.status()).toMatchObject({ failing: [], conflicts: [{}] });
    kernel.outside({ op: "delete", resource: bridge });
    await clock.advance(1000);
    await expectInSync();
  });

  test("blocks only the entries on a device that cannot be created, and backs off", async () => {
    let isRefused = true;
    kernel.refuse = ({ resource }) =>
      isRefused && resource.kind === "link" && resource.name === "flannel.1" ? "EPERM" : undefined;
    reconciler.start(SCOPE);
    reconciler.setDesired("node", NODE);
    reconciler.setDesired("peer 2", [...peer(2), tunnelRouteV6(2)]);
    await clock.advance(600_000);
    const asked = kernel.takeAsked();
    expect(asked.filter((step) => step.startsWith("set link flannel.1")).length).toBeLessThan(40);
    expect(asked.filter((step) => /dev flannel\.1/.test(step))).toEqual([]);
    expect(asked).toContain(
      "set route fc00:0:0:2::/64 via fc00:0:0:2:: dev flannel-v6.1 proto 70 onlink",
    );
    expect(reconciler.status().failing).toMatchObject([{
      error: expect.stringContaining("EPERM"),
    }]);
    expect(warnings().length).toBeLessThan(10);
    isRefused = false;
    await clock.advance(31_000);
    expectOurs(...peer(2), tunnelRouteV6(2));
  });

  test("logs the same failure of many entries in one line", async () => {
    await running();
    kernel.refuse = ({ resource }) => resource.kind === "neighbour" ? "ENOBUFS" : undefined;
    for (let n = 2; n < 100; n++) reconciler.setDesired(`peer ${n}`, peer(n));
    await clock.advance(50);
    expect(warnings()).toHaveLength(1);
    expect(warnings()[0]).toContain("(and 97 more like it)");
    kernel.refuse = () => undefined;
    await clock.advance(1000);
    await expectInSync();
  });

  test("recovers when the device vanishes within a batch", async () => {
    await running(2);
    kernel.betweenSteps = (done) => {
      if (done !== 2) return;
      kernel.betweenSteps = () => {};
      kernel.outside({ op: "delete", resource: DEVICE });
    };
    reconciler.setDesired("peer 3", peer(3));
    reconciler.setDesired("peer 4", peer(4));
    await clock.advance(1000);
    expectOurs(...peer(2), ...peer(3), ...peer(4));
  });

  test("replaces our own route that appeared between the dump and the step", async () => {
    await running();
    kernel.delivery = "held";
    kernel.outside({ op: "set", resource: { ...directRoute(2), gateway: ip("192.168.0.9") } });
    reconciler.setDesired("direct", [directRoute(2)]);
    await clock.advance(1000);
    expectOurs(directRoute(2));
  });

  test("deletes nothing because of an interrupted dump, and dumps again", async () => {
    await running(2, 3);
    kernel.interruptedDumps = 3;
    reconciler.setScope(SCOPE);
    await clock.advance(40);
    reconciler.removeOwner("peer 3");
    await clock.advance(20);
    expect(kernel.takeAsked()).toEqual([]);
    expect(kernel.interruptedDumps).toBeGreaterThan(0);
    await clock.advance(2000);
    expectOurs(...peer(2));
  });

  test("prefers a notification to a dump that was read before it", async () => {
    await running(2);
    kernel.delivery = "now";
    kernel.afterDump = () => {
      kernel.afterDump = () => {};
      kernel.outside({ op: "delete", resource: tunnelRoute(2) });
    };
    reconciler.setScope(SCOPE);
    await clock.advance(1000);
    expectOurs(...peer(2));
  });

  test.each([
    ["treats a change during the acknowledgement of its own as the newer one", tunnelRoute(2)],
    ["recovers when the device vanishes before its entries are acknowledged", DEVICE],
  ])("%s", async (_name, deleted) => {
    await running();
    kernel.delivery = "now";
    const acknowledged = Promise.withResolvers<void>();
    kernel.acknowledge = () => acknowledged.promise;
    reconciler.setDesired("peer 2", peer(2));
    await clock.advance(50);
    kernel.outside({ op: "delete", resource: deleted });
    acknowledged.resolve();
    await clock.advance(1000);
    expectOurs(...peer(2));
  });

  test("follows a desired state that changes while a step is in flight", async () => {
    await running();
    let acknowledge = () => {};
    const acknowledged = new Promise<void>((resolve) => acknowledge = resolve);
    kernel.acknowledge = () => acknowledged;
    reconciler.setDesired("peer 2", peer(2));
    await clock.advance(50);
    reconciler.removeOwner("peer 2");
    acknowledge();
    await clock.advance(1000);
    expectOurs();
  });
});
