/** What is learned of the kernel, and what must be read again because a notification does not say it. */

import { beforeEach, describe, expect, test } from "bun:test";
import type { KernelEvent } from "../../../src/kernel/kernel.ts";
import { EntryTable, type TrackedEntry } from "../../../src/reconcile/entry_table.ts";
import { ExternalLink } from "../../../src/reconcile/external_link.ts";
import { EntryPlanner } from "../../../src/reconcile/entry_planner.ts";
import { KernelCache } from "../../../src/reconcile/kernel_cache.ts";
import { ResyncQueue } from "../../../src/reconcile/resync_queue.ts";
import { Failures } from "../../../src/reconcile/failures.ts";
import { WorkList } from "../../../src/reconcile/work_list.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import type { Link, Resource, Sysctl } from "../../../src/state/resource.ts";
import type { Step } from "../../../src/state/step.ts";
import {
  address,
  directRoute,
  fdb,
  foreignRoute,
  neighbour,
  OWNERSHIP,
  tunnelRoute,
  vxlanDevice,
} from "../../support/arbitrary_state.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { collectingLog, ETH0, ip, mac } from "../../support/sample_network.ts";

const DEVICE = vxlanDevice("flannel.1");
const ACCEPT_RA: Sysctl = {
  kind: "sysctl",
  path: "net/ipv6/conf/flannel.1/accept_ra",
  value: "0",
};

let clock: FakeClock;
let table: EntryTable;
let resync: ResyncQueue;
let work: WorkList;
let failures: Failures;
let external: ExternalLink;
let planner: EntryPlanner;
let cache: KernelCache;
let reasons: string[];

beforeEach(() => {
  clock = new FakeClock(() => 0.5);
  const log = collectingLog();
  const onWork = () => {};
  reasons = [];
  table = new EntryTable(() => {});
  resync = new ResyncQueue({ clock, log, everyMs: 300_000, onWork });
  work = new WorkList({ clock, onWork });
  failures = new Failures({ clock, log });
  external = new ExternalLink({
    resync: resync,
    work,
    failures: failures,
    onChanged: (reason) => void reasons.push(reason),
  });
  planner = new EntryPlanner({ table, external, resync: resync });
  planner.ownership = OWNERSHIP;
  external.rename("eth0");
  cache = new KernelCache({
    clock,
    table,
    planner: planner,
    external,
    work,
    resync: resync,
    failures: failures,
  });
});

/** These are wanted and there, all was read, and there is nothing to do. */
function inSync(...resources: Resource[]): void {
  table.setDesired("node", resources, 0n, () => {});
  cache.beginDump();
  cache.load([ETH0, ...resources], OWNERSHIP.links);
  cache.endDump();
  resync.begin("all");
  resync.succeeded("all");
  forget();
}

/** Nothing is to be done, nothing to be read. */
function forget(): void {
  for (const key of [...work.keys()]) work.take(key);
  resync.begin("all");
  reasons.length = 0;
}

function at(resource: Resource): TrackedEntry {
  return table.at(resourceKey(resource));
}

function changed(resource: Resource): KernelEvent {
  return { kind: "changed", resource, deleted: false };
}

function gone(resource: Resource): KernelEvent {
  return { kind: "changed", resource, deleted: true };
}

/** The devices that must be read again. */
function toRead(): string[] | "all" {
  const due = resync.due();
  return due === undefined ? [] : due === "all" ? "all" : [...due];
}

function toDo(): string[] {
  return [...work.keys()].sort();
}

/** The program makes this change, and the kernel carries it out. */
function apply(step: Step): void {
  cache.beginSteps(new Map([[step, resourceKey(step.resource)]]));
  cache.applied(at(step.resource), step);
  cache.endSteps();
}

describe("Mirror, told of a change by another program,", () => {
  test("takes over what the entry is now, and looks at it", () => {
    inSync(DEVICE, neighbour(2, 2));
    cache.receive(changed(neighbour(2, 9)));
    expect(at(neighbour(2, 2)).actual).toEqual(neighbour(2, 9));
    expect(at(neighbour(2, 2)).hasDrifted).toBe(true);
    expect(toDo()).toEqual([resourceKey(neighbour(2, 2))]);
    expect(toRead()).toEqual([]);
  });

  test("ignores what is not ours, and what is gone that it never knew", () => {
    inSync(DEVICE);
    cache.receive(changed(foreignRoute(2)));
    cache.receive(gone(tunnelRoute(2)));
    expect(table.get(resourceKey(tunnelRoute(2)))).toBeUndefined();
    expect(toDo()).toEqual([]);
  });

  test("looks at a stray entry on our device only when it may be deleted, and counts the rounds", () => {
    inSync(DEVICE);
    cache.receive(changed(tunnelRoute(9)));
    expect(at(tunnelRoute(9)).hasDrifted).toBe(true);
    expect(toDo()).toEqual([]);
    planner.isDesiredComplete = true;
    cache.receive(changed({ ...tunnelRoute(9), protocol: 3 }));
    expect(toDo()).toEqual([resourceKey(tunnelRoute(9))]);
  });

  test("forgets a stray entry that goes away again", () => {
    inSync(DEVICE);
    cache.receive(changed(tunnelRoute(9)));
    cache.receive(gone(tunnelRoute(9)));
    expect(table.get(resourceKey(tunnelRoute(9)))).toBeUndefined();
  });

  test("follows a foreign route at a place that we want, until it is gone", () => {
    inSync(DEVICE);
    table.setDesired("direct", [directRoute(2)], 0n, () => {});
    cache.receive(changed(foreignRoute(2)));
    failures.addConflict(at(directRoute(2)), foreignRoute(2));
    expect(toDo()).toEqual([resourceKey(directRoute(2))]);
    forget();
    cache.receive(gone(foreignRoute(2)));
    expect(at(directRoute(2)).failure).toBeUndefined();
    expect(toDo()).toEqual([resourceKey(directRoute(2))]);
  });

  test("does not drop the wait for an entry that is changed again and again", () => {
    inSync(DEVICE, neighbour(2, 2));
    const entry = at(neighbour(2, 2));
    failures.addDamped(entry, { delayMs: 1000, round: 1 });
    cache.receive(changed(neighbour(2, 9)));
    expect(entry.failure?.kind).toBe("damped");
    cache.receive(changed(neighbour(2, 2)));
    expect(entry.failure).toBeUndefined();
  });

  test("reads the device again whose MAC was changed, for its neighbours are gone", () => {
    inSync(DEVICE, neighbour(2, 2));
    cache.receive(changed({ ...DEVICE, mac: mac(9) }));
    expect(toRead()).toEqual(["flannel.1"]);
  });

  test("reads the device again that was set down or up, but not for another MTU", () => {
    inSync(DEVICE);
    cache.receive(changed({ ...DEVICE, mtuBytes: 1300 }));
    expect(toRead()).toEqual([]);
    cache.receive(changed({ ...DEVICE, up: false }));
    expect(toRead()).toEqual(["flannel.1"]);
    forget();
    cache.receive(changed(DEVICE));
    expect(toRead()).toEqual(["flannel.1"]);
    expect(at(DEVICE).isInSync).toBe(true);
  });

  test("reads a device again that is reported as down, even if that was known", () => {
    inSync(DEVICE);
    cache.receive(changed({ ...DEVICE, up: false }));
    forget();
    cache.receive(changed({ ...DEVICE, up: false }));
    expect(toRead()).toEqual(["flannel.1"]);
  });

  test("looks at what waits for a device when that changes", () => {
    inSync(DEVICE);
    work.waitFor("flannel.1", resourceKey(tunnelRoute(2)));
    cache.receive(changed({ ...DEVICE, mtuBytes: 1300 }));
    expect(toDo()).toContain(resourceKey(tunnelRoute(2)));
  });

  test("forgets all that was on a device that is gone, and nothing else", () => {
    inSync(DEVICE, neighbour(2, 2), fdb(2, 2), tunnelRoute(2), directRoute(3), ACCEPT_RA);
    cache.receive(changed(tunnelRoute(9)));
    cache.receive(gone(DEVICE));
    for (const lost of [DEVICE, neighbour(2, 2), fdb(2, 2), tunnelRoute(2), ACCEPT_RA]) {
      expect([at(lost).actual, at(lost).isOurChange]).toEqual([undefined, false]);
    }
    expect(at(directRoute(3)).isInSync).toBe(true);
    expect(table.get(resourceKey(tunnelRoute(9)))).toBeUndefined();
    expect(toDo()).toEqual(
      [DEVICE, neighbour(2, 2), fdb(2, 2), tunnelRoute(2), ACCEPT_RA].map(resourceKey).sort(),
    );
  });

  test("reads the device again that lost an IPv4 address, for its routes may be gone", () => {
    inSync(DEVICE, address(1));
    cache.receive(gone(address(1)));
    expect(toRead()).toEqual(["flannel.1"]);
    forget();
    const v6: Resource = {
      kind: "address",
      link: "flannel-v6.1",
      address: ip("fc00:0:0:1::"),
      prefixLength: 128,
    };
    inSync(DEVICE, v6);
    cache.receive(gone(v6));
    expect(toRead()).toEqual([]);
    expect(toDo()).toEqual([resourceKey(v6)]);
  });

  test("reads everything at once when notifications were lost", () => {
    inSync(DEVICE);
    resync.requestAllLater(5);
    expect(toRead()).toEqual([]);
    cache.receive({ kind: "overrun" });
    expect(toRead()).toBe("all");
  });
});

describe("Mirror, told of the external interface,", () => {
  test("says what changed, and reads it again", () => {
    inSync(DEVICE);
    cache.receive(changed({ ...ETH0, up: false }));
    cache.receive(changed({ ...ETH0, mtuBytes: 1400 }));
    cache.receive(gone(ETH0));
    cache.receive(gone(ETH0));
    cache.receive(changed(ETH0));
    expect(reasons).toEqual([
      "down",
      "up, MTU 1400",
      "deleted",
      "created",
    ]);
    expect(toRead()).toEqual(["eth0"]);
    expect(external.link).toEqual(ETH0);
  });

  test("says nothing of an announcement without a change, nor of another interface", () => {
    inSync(DEVICE);
    cache.receive(changed(ETH0));
    cache.receive(changed({ ...ETH0, mac: mac(7) }));
    cache.receive(changed({ ...ETH0, name: "eth1", up: false }));
    cache.receive(changed({ ...address(7), link: "eth1" }));
    expect(reasons).toEqual([]);
    expect(toRead()).toEqual([]);
  });

  test("says that it has another address, and reads it again when an IPv4 address goes", () => {
    inSync(DEVICE);
    const own: Resource = { ...address(1), link: "eth0" };
    cache.receive(changed(own));
    expect(reasons).toEqual(["address 10.5.1.0 set"]);
    expect(toRead()).toEqual([]);
    cache.receive(gone(own));
    expect(reasons).toEqual(["address 10.5.1.0 set", "address 10.5.1.0 deleted"]);
    expect(toRead()).toEqual(["eth0"]);
  });

  test("takes an entry with its name for the interface only if it is a device", () => {
    inSync(DEVICE);
    cache.receive(gone({ ...address(1), link: "eth0" }));
    cache.receive(gone({ ...directRoute(2), link: "eth0" }));
    expect(external.link).toEqual(ETH0);
  });

  test("tries again what failed, and what waits for it, once it is there", () => {
    inSync(DEVICE);
    table.setDesired("direct", [directRoute(2), directRoute(3)], 0n, () => {});
    const failing = at(directRoute(2));
    failing.failure = undefined;
    failures.addFailed([{
      entry: failing,
      step: { op: "set", resource: directRoute(2) },
      error: { code: "ENETUNREACH", reason: "ENETUNREACH" } as never,
    }]);
    failures.addConflict(at(directRoute(3)), foreignRoute(3));
    work.waitFor("eth0", resourceKey(neighbour(2, 2)));
    cache.receive(gone(ETH0));
    expect(toDo()).toEqual([resourceKey(directRoute(2))]);
    cache.receive(changed(ETH0));
    expect(toDo()).toEqual([resourceKey(neighbour(2, 2)), resourceKey(directRoute(2))].sort());
  });

  test("forgets it when another one carries the packets from now on", () => {
    inSync(DEVICE);
    external.rename("eth0");
    expect(external.link).toEqual(ETH0);
    external.rename("eth1");
    expect([external.name, external.link]).toEqual(["eth1", undefined]);
    external.observe({ ...ETH0, name: "eth1" });
    expect(reasons).toEqual(["created"]);
    external.rename(undefined);
    expect([external.name, external.link]).toEqual([undefined, undefined]);
  });

  test("takes it for no change that it is found in the first reading", () => {
    cache.beginDump();
    cache.load([ETH0], OWNERSHIP.links);
    expect(reasons).toEqual([]);
    external.observe(undefined);
    expect(reasons).toEqual(["deleted"]);
  });
});

describe("Mirror, of the program's own changes,", () => {
  test("believes the acknowledgement, and not its own notifications", () => {
    inSync(DEVICE);
    table.setDesired("peer", [tunnelRoute(2)], 0n, () => {});
    apply({ op: "set", resource: tunnelRoute(2) });
    expect(at(tunnelRoute(2)).isInSync).toBe(true);
    expect(at(tunnelRoute(2)).isOurChange).toBe(true);
    cache.receive(changed(tunnelRoute(2)));
    expect(toDo()).toEqual([]);
    expect(at(tunnelRoute(2)).hasDrifted).toBe(false);
    expect(at(tunnelRoute(2)).actual).toBe(at(tunnelRoute(2)).desired);
  });

  test("forgets what it deleted", () => {
    inSync(DEVICE, tunnelRoute(2));
    table.setDesired("node", [DEVICE], 0n, () => {});
    apply({ op: "delete", resource: tunnelRoute(2) });
    expect(table.get(resourceKey(tunnelRoute(2)))).toBeUndefined();
    cache.receive(gone(tunnelRoute(2)));
    expect(table.get(resourceKey(tunnelRoute(2)))).toBeUndefined();
  });

  test("looks again at an entry that is wanted otherwise by the time it is made", () => {
    inSync(DEVICE);
    table.setDesired("peer", [neighbour(2, 3)], 0n, () => {});
    apply({ op: "set", resource: neighbour(2, 2) });
    expect(at(neighbour(2, 2)).actual).toEqual(neighbour(2, 2));
    expect(toDo()).toEqual([resourceKey(neighbour(2, 2))]);
    forget();
    table.setDesired("peer", [], 0n, () => {});
    apply({ op: "set", resource: neighbour(2, 2) });
    expect(at(neighbour(2, 2)).isOurChange).toBe(true);
    expect(toDo()).toEqual([resourceKey(neighbour(2, 2))]);
  });

  test("believes a notification that came in between more than the acknowledgement", () => {
    inSync(DEVICE);
    table.setDesired("peer", [neighbour(2, 2)], 0n, () => {});
    const step: Step = { op: "set", resource: neighbour(2, 2) };
    cache.beginSteps(new Map([[step, resourceKey(step.resource)]]));
    cache.receive(changed(neighbour(2, 2)));
    cache.receive(changed(neighbour(2, 9)));
    cache.applied(at(neighbour(2, 2)), step);
    cache.endSteps();
    expect(at(neighbour(2, 2)).actual).toEqual(neighbour(2, 9));
    expect(at(neighbour(2, 2)).hasDrifted).toBe(true);
    expect(toDo()).toEqual([resourceKey(neighbour(2, 2))]);
  });

  test("believes its own change when that came after the one of another program", () => {
    inSync(DEVICE, neighbour(2, 2));
    table.setDesired("node", [DEVICE, neighbour(2, 3)], 0n, () => {});
    const step: Step = { op: "set", resource: neighbour(2, 3) };
    cache.beginSteps(new Map([[step, resourceKey(step.resource)]]));
    cache.receive(changed(neighbour(2, 9)));
    cache.receive(changed(neighbour(2, 3)));
    cache.applied(at(neighbour(2, 3)), step);
    cache.endSteps();
    expect(at(neighbour(2, 3)).isInSync).toBe(true);
    expect(at(neighbour(2, 3)).hasDrifted).toBe(false);
  });

  test("expects no notification of a change that was refused", () => {
    inSync(DEVICE);
    table.setDesired("peer", [neighbour(2, 2)], 0n, () => {});
    const step: Step = { op: "set", resource: neighbour(2, 2) };
    cache.beginSteps(new Map([[step, resourceKey(step.resource)]]));
    cache.refused(at(neighbour(2, 2)), step);
    cache.endSteps();
    cache.receive(changed(neighbour(2, 2)));
    expect(at(neighbour(2, 2)).isOurChange).toBe(false);
    cache.receive(gone(neighbour(2, 2)));
    expect(at(neighbour(2, 2)).hasDrifted).toBe(true);
  });

  test("reads the device again that it gave another MAC, set up or down, not one of another MTU", () => {
    inSync(DEVICE);
    for (const from of [{ mac: mac(9) }, { up: false }]) {
      apply({ op: "change", resource: DEVICE, from: { ...DEVICE, ...from } as Link });
      expect(toRead()).toEqual(["flannel.1"]);
      forget();
    }
    apply({ op: "change", resource: DEVICE, from: { ...DEVICE, mtuBytes: 1300 } });
    expect(toRead()).toEqual([]);
  });

  test("reads nothing of a device that it made itself, while the kernel tells of the steps", () => {
    inSync();
    table.setDesired("node", [DEVICE], 0n, () => {});
    apply({ op: "set", resource: DEVICE });
    cache.receive(changed({ ...DEVICE, up: false }));
    cache.receive(changed(DEVICE));
    expect(toRead()).toEqual([]);
    expect(at(DEVICE).isInSync).toBe(true);
    cache.receive(changed({ ...DEVICE, up: false }));
    expect(toRead()).toEqual(["flannel.1"]);
  });

  test("looks at what waits for a device that it made or changed", () => {
    inSync();
    for (
      const step of [
        { op: "set", resource: DEVICE },
        { op: "change", resource: DEVICE, from: { ...DEVICE, mtuBytes: 1300 } },
      ] as const
    ) {
      forget();
      work.waitFor("flannel.1", resourceKey(tunnelRoute(2)));
      apply(step);
      expect(toDo()).toContain(resourceKey(tunnelRoute(2)));
    }
  });

  test("forgets all that was on a device that it deleted", () => {
    inSync(DEVICE, fdb(2, 2));
    apply({ op: "delete", resource: DEVICE });
    expect(at(fdb(2, 2)).actual).toBeUndefined();
    expect(toDo()).toContain(resourceKey(fdb(2, 2)));
  });

  test("does not count entries on a device that vanished during the reading as present", () => {
    inSync(DEVICE);
    table.setDesired("peer", [fdb(2, 2)], 0n, () => {});
    const step: Step = { op: "set", resource: fdb(2, 2) };
    cache.beginSteps(new Map([[step, resourceKey(step.resource)]]));
    cache.receive(gone(DEVICE));
    cache.applied(at(fdb(2, 2)), step);
    cache.endSteps();
    expect(at(fdb(2, 2)).actual).toBeUndefined();
    expect(toDo()).toContain(resourceKey(fdb(2, 2)));
  });

  test("reads the device again whose IPv4 address it deleted", () => {
    inSync(DEVICE, address(1));
    apply({ op: "delete", resource: address(1) });
    expect(toRead()).toEqual(["flannel.1"]);
  });
});

describe("Mirror, of a reading,", () => {
  test("takes over what is there, and what is there no more", () => {
    inSync(DEVICE, neighbour(2, 2), tunnelRoute(2));
    cache.beginDump();
    cache.load([ETH0, DEVICE, neighbour(2, 9), foreignRoute(4)], OWNERSHIP.links);
    expect(at(neighbour(2, 2)).actual).toEqual(neighbour(2, 9));
    expect(at(tunnelRoute(2)).actual).toBeUndefined();
    expect(table.get(resourceKey(foreignRoute(4)))).toBeUndefined();
    expect(toDo()).toEqual([resourceKey(neighbour(2, 2)), resourceKey(tunnelRoute(2))].sort());
  });

  test("prefers a notification that came during the reading to the reading", () => {
    inSync(DEVICE, neighbour(2, 2), tunnelRoute(2));
    cache.beginDump();
    cache.receive(gone(neighbour(2, 2)));
    cache.receive(changed({ ...tunnelRoute(3), protocol: 3 }));
    cache.load([ETH0, DEVICE, neighbour(2, 2), tunnelRoute(2)], OWNERSHIP.links);
    expect(at(neighbour(2, 2)).actual).toBeUndefined();
    expect(at(tunnelRoute(3)).actual).toEqual({ ...tunnelRoute(3), protocol: 3 });
    cache.endDump();
    cache.beginDump();
    cache.load([ETH0, DEVICE, neighbour(2, 2), tunnelRoute(2)], OWNERSHIP.links);
    expect(at(neighbour(2, 2)).isInSync).toBe(true);
    expect(table.get(resourceKey(tunnelRoute(3)))).toBeUndefined();
  });

  test("notices that a device vanished during the reading, with all its entries", () => {
    inSync(DEVICE, fdb(2, 2));
    cache.beginDump();
    cache.receive(gone(DEVICE));
    cache.receive(gone(ETH0));
    cache.load([ETH0, DEVICE, fdb(2, 2)], OWNERSHIP.links);
    expect(at(DEVICE).actual).toBeUndefined();
    expect(at(fdb(2, 2)).actual).toBeUndefined();
  });

  test("is discarded when notifications were lost during it", () => {
    cache.beginDump();
    expect(cache.isDumpStale).toBe(false);
    cache.receive({ kind: "overrun" });
    expect(cache.isDumpStale).toBe(true);
  });

  test("of some devices says nothing of what is on others, nor of parameters", () => {
    const other: Resource = { ...fdb(2, 2), link: "flannel-v6.1" };
    const policy: Resource = {
      kind: "xfrm-policy",
      direction: "out",
      source: tunnelRoute(1).destination,
      destination: tunnelRoute(2).destination,
    };
    const fou: Resource = { kind: "fou", port: 8285, protocol: 4 };
    inSync(DEVICE, vxlanDevice("flannel-v6.1"), fdb(2, 2), other, ACCEPT_RA, policy, fou);
    cache.beginDump();
    cache.load([ETH0, DEVICE, vxlanDevice("flannel-v6.1")], new Set(["flannel.1"]));
    expect(at(other).isInSync).toBe(true);
    expect(at(ACCEPT_RA).isInSync).toBe(true);
    expect(at(fdb(2, 2)).actual).toBeUndefined();
    expect(at(policy).actual).toBeUndefined();
    expect(at(fou).actual).toBeUndefined();
  });

  test("finds a device that is gone, and reads nothing again for it", () => {
    inSync(DEVICE, fdb(2, 2));
    cache.beginDump();
    cache.load([ETH0], new Set());
    expect(at(DEVICE).actual).toBeUndefined();
    expect(at(fdb(2, 2)).actual).toBeUndefined();
  });

  test("takes the right one of several entries with one key, whichever comes first", () => {
    for (const order of [[fdb(2, 2), fdb(2, 9)], [fdb(2, 9), fdb(2, 2)]]) {
      inSync(DEVICE, fdb(2, 2));
      cache.beginDump();
      cache.load([ETH0, DEVICE, ...order], OWNERSHIP.links);
      expect(at(fdb(2, 2)).isInSync).toBe(true);
    }
  });

  test("takes the last of several entries with one key where none is wanted", () => {
    inSync(DEVICE);
    cache.beginDump();
    cache.load([ETH0, DEVICE, fdb(2, 2), fdb(2, 9)], OWNERSHIP.links);
    expect(at(fdb(2, 2)).actual).toEqual(fdb(2, 9));
  });

  test("sees that the external interface is gone or has changed", () => {
    inSync(DEVICE);
    cache.beginDump();
    cache.load([DEVICE, { ...directRoute(2), link: "eth0" }], OWNERSHIP.links);
    cache.load([DEVICE, { ...ETH0, up: false }], OWNERSHIP.links);
    expect(reasons).toEqual(["deleted", "created"]);
    expect(external.link?.up).toBe(false);
  });

  test("looks for no external interface where there is none", () => {
    inSync(DEVICE);
    external.rename(undefined);
    cache.beginDump();
    cache.load([DEVICE, ETH0], OWNERSHIP.links);
    expect(external.link).toBeUndefined();
    expect(reasons).toEqual([]);
  });
});

describe("Judge", () => {
  const wait = (desired: Resource) => planner.blockerOf(desired, new Map());

  test("lets nothing but parameters be set while the device they are on is down", () => {
    inSync(DEVICE);
    cache.receive(changed({ ...DEVICE, up: false }));
    expect([fdb(2, 2), tunnelRoute(2), address(1)].map(wait)).toEqual(Array(3).fill("flannel.1"));
    expect(wait(ACCEPT_RA)).toBeUndefined();
    cache.receive(changed(DEVICE));
    expect([fdb(2, 2), tunnelRoute(2), address(1)].map(wait)).toEqual(Array(3).fill(undefined));
    cache.receive(gone(DEVICE));
    expect([fdb(2, 2), ACCEPT_RA].map(wait)).toEqual(["flannel.1", "flannel.1"]);
  });

  test("lets nothing be set on a device of another type that has the name of ours", () => {
    inSync(DEVICE);
    cache.receive(changed({ ...ETH0, name: "flannel.1", linkKind: "bridge" }));
    expect([fdb(2, 2), ACCEPT_RA].map(wait)).toEqual(["flannel.1", "flannel.1"]);
  });

  test("does not wait for a device that is not ours to make, nor for what has none", () => {
    inSync(DEVICE);
    const { link: _, gateway: __, ...rest } = directRoute(2);
    expect(wait({ ...rest, type: "blackhole" })).toBeUndefined();
    expect(wait({ ...fdb(2, 2), link: "somebody.1" })).toBeUndefined();
    expect(wait({ ...ACCEPT_RA, path: "net/ipv4/ip_forward" })).toBeUndefined();
  });

  test("waits for the external interface: routes until it is up, a vxlan device until it is there", () => {
    inSync(DEVICE);
    expect([directRoute(2), DEVICE].map(wait)).toEqual([undefined, undefined]);
    cache.receive(changed({ ...ETH0, up: false }));
    expect([directRoute(2), DEVICE].map(wait)).toEqual(["eth0", undefined]);
    cache.receive(gone(ETH0));
    expect([directRoute(2), DEVICE].map(wait)).toEqual(["eth0", "eth0"]);
    expect(wait({ ...DEVICE, underlay: "eth1" } as Link)).toBeUndefined();
    const tun: Link = {
      kind: "link",
      type: "tun",
      name: "flannel0",
      mtuBytes: 1472,
      mac: DEVICE.mac,
      up: true,
    };
    expect(wait(tun)).toBeUndefined();
  });

  test("remembers its answer for a batch", () => {
    inSync(DEVICE);
    const usable = new Map<string, boolean>();
    expect(planner.blockerOf(fdb(2, 2), usable)).toBeUndefined();
    cache.receive(changed({ ...DEVICE, up: false }));
    expect(planner.blockerOf(fdb(2, 2), usable)).toBeUndefined();
    expect(planner.blockerOf(fdb(2, 2), new Map())).toBe("flannel.1");
  });

  test("deletes what is ours and unwanted when all that is wanted is known and the reading is trusted", () => {
    inSync(DEVICE);
    cache.receive(changed(tunnelRoute(9)));
    const decision = () => planner.decide(at(tunnelRoute(9))).kind;
    expect(decision()).toBe("keep");
    planner.isDesiredComplete = true;
    expect(decision()).toBe("act");
    resync.failed("all", new Error("cannot read"));
    expect(decision()).toBe("keep");
    resync.succeeded("all");
    cache.receive(changed({ ...ETH0, name: "flannel.1", linkKind: "bridge" }));
    expect(decision()).toBe("keep");
  });

  test("deletes what this process made, whatever the ownership says since", () => {
    inSync(DEVICE);
    planner.isDesiredComplete = true;
    const foreign: Resource = { ...directRoute(2), protocol: 4 };
    table.setDesired("peer", [foreign], 0n, () => {});
    apply({ op: "set", resource: foreign });
    table.setDesired("peer", [], 0n, () => {});
    expect(planner.decide(at(foreign)).kind).toBe("act");
  });

  test("takes over Go flannel's route, and leaves another one alone", () => {
    inSync(DEVICE);
    table.setDesired("direct", [directRoute(2), directRoute(3)], 0n, () => {});
    cache.receive(changed(directRoute(2, 3)));
    cache.receive(changed(foreignRoute(3)));
    expect(planner.decide(at(directRoute(2))).kind).toBe("act");
    expect(planner.decide(at(directRoute(3))).kind).toBe("conflict");
  });

  test("owns nothing before it knows what is this daemon's", () => {
    const fresh = new EntryPlanner({ table, external, resync: resync });
    expect(fresh.isOurs(DEVICE)).toBe(false);
    expect(fresh.isOurs(directRoute(2))).toBe(false);
  });
});
