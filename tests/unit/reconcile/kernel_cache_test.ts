/** What the cache learns from notifications, steps and dumps, and which changes need a dump. */

import { beforeEach, describe, expect, test } from "bun:test";
import { KernelError, type KernelEvent } from "../../../src/kernel/kernel.ts";
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
import { computedAgain } from "../../support/computed_again.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { ETH0, ip, mac, warningsLog } from "../../support/sample_network.ts";

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
  const log = warningsLog();
  const onWork = () => {};
  reasons = [];
  table = new EntryTable({ onKeyConflict: () => {}, onInconsistent: () => {}, seed: 0.5 });
  resync = new ResyncQueue({ clock, log, resyncMs: 300_000, onWork });
  work = new WorkList({ clock, onWork });
  failures = new Failures({ clock, log });
  external = new ExternalLink({
    resync,
    work,
    failures,
    onChanged: (reason) => void reasons.push(reason),
  });
  planner = new EntryPlanner({ table, external, resync });
  planner.ownership = OWNERSHIP;
  external.setName("eth0");
  cache = new KernelCache({
    clock,
    table,
    planner,
    external,
    work,
    resync,
    failures,
  });
});

/** These entries are desired and in the kernel, a full dump succeeded, and there is no work. */
function inSync(...resources: Resource[]): void {
  table.setDesired("node", resources, 0n, () => {});
  cache.beginDump();
  cache.load([ETH0, ...resources], OWNERSHIP.links);
  cache.endDump();
  resync.begin("all");
  resync.succeeded("all");
  forget();
}

/** Clears the work and the requested dumps. */
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

function deleted(resource: Resource): KernelEvent {
  return { kind: "changed", resource, deleted: true };
}

/** The devices whose entries must be dumped. */
function devicesToDump(): string[] | "all" {
  const due = resync.due();
  return due === undefined ? [] : due === "all" ? "all" : [...due];
}

function workKeys(): string[] {
  return [...work.keys()].sort();
}

/** This program makes the change, and the kernel acknowledges it. */
function apply(step: Step): void {
  cache.beginSteps(new Map([[step, resourceKey(step.resource)]]));
  cache.applied(at(step.resource), step);
  cache.endSteps();
}

describe("KernelCache, notified of a change by another program,", () => {
  test("records the entry, and adds work for it", () => {
    inSync(DEVICE, neighbour(2, 2));
    cache.receive(changed(neighbour(2, 9)));
    expect(at(neighbour(2, 2)).actual).toEqual(neighbour(2, 9));
    expect(at(neighbour(2, 2)).hasDrifted).toBe(true);
    expect(workKeys()).toEqual([resourceKey(neighbour(2, 2))]);
    expect(devicesToDump()).toEqual([]);
  });

  test("ignores foreign entries, and the deletion of unknown ones", () => {
    inSync(DEVICE);
    cache.receive(changed(foreignRoute(2)));
    cache.receive(deleted(tunnelRoute(2)));
    expect(table.get(resourceKey(tunnelRoute(2)))).toBeUndefined();
    expect(workKeys()).toEqual([]);
  });

  describe("looks whether a conflict has ended", () => {
    const OTHER: Link = { ...ETH0, name: "eth1" };
    const OTHER_ADDRESS: Resource = { ...address(1), link: "eth1", address: ip("10.9.0.1") };

    test.each([
      { name: "its device is deleted", holder: {}, event: deleted(OTHER) },
      { name: "its device is down", holder: {}, event: changed({ ...OTHER, up: false }) },
      { name: "its device has lost an address", holder: {}, event: deleted(OTHER_ADDRESS) },
      {
        name: "its preferred source is deleted",
        holder: { link: "eth2", source: ip("10.9.0.1") },
        event: deleted(OTHER_ADDRESS),
      },
      {
        name: "the device of one of its next hops is deleted",
        holder: { link: "eth2", multipath: true },
        event: deleted(OTHER),
      },
    ])("when $name", ({ holder, event }) => {
      conflictWith({ ...foreignRoute(2), ...holder });
      cache.receive(event);
      expect(devicesToDump()).toEqual(["eth1"]);
    });

    test.each([
      { name: "its device is up", event: changed(OTHER) },
      { name: "its device has another address", event: changed(OTHER_ADDRESS) },
      { name: "another device is deleted", event: deleted({ ...OTHER, name: "eth2" }) },
      {
        name: "another device has lost an address",
        event: deleted({ ...OTHER_ADDRESS, link: "eth2" }),
      },
    ])("but not when $name", ({ event }) => {
      conflictWith(foreignRoute(2));
      cache.receive(event);
      expect(devicesToDump()).toEqual([]);
    });

    function conflictWith(holder: Resource): void {
      inSync(DEVICE);
      table.setDesired("10.5.2.0-24", [tunnelRoute(2)], 1n, () => {});
      cache.receive(changed(holder));
      failures.addConflict(at(tunnelRoute(2)), holder);
      forget();
    }
  });

  test("adds work for a stray entry only when it may be deleted, and marks it as drifted", () => {
    inSync(DEVICE);
    cache.receive(changed(tunnelRoute(9)));
    expect(at(tunnelRoute(9)).hasDrifted).toBe(true);
    expect(workKeys()).toEqual([]);
    planner.isDesiredComplete = true;
    cache.receive(changed({ ...tunnelRoute(9), protocol: 3 }));
    expect(workKeys()).toEqual([resourceKey(tunnelRoute(9))]);
  });

  test("forgets a stray entry that is deleted again", () => {
    inSync(DEVICE);
    cache.receive(changed(tunnelRoute(9)));
    cache.receive(deleted(tunnelRoute(9)));
    expect(table.get(resourceKey(tunnelRoute(9)))).toBeUndefined();
  });

  test("follows a foreign route that holds our key until it is deleted", () => {
    inSync(DEVICE);
    table.setDesired("direct", [directRoute(2)], 0n, () => {});
    cache.receive(changed(foreignRoute(2)));
    failures.addConflict(at(directRoute(2)), foreignRoute(2));
    expect(workKeys()).toEqual([resourceKey(directRoute(2))]);
    forget();
    cache.receive(deleted(foreignRoute(2)));
    expect(at(directRoute(2)).failure).toBeUndefined();
    expect(workKeys()).toEqual([resourceKey(directRoute(2))]);
  });

  test("makes no record for a settled entry that is as it was, and one for another value", () => {
    const entry = neighbour(2, 2);
    inSync(DEVICE);
    table.setDesired("peer 2", [entry], 1n, () => {}, computedAgain("peer 2", [entry], 1n));
    cache.observe(at(entry), entry);
    expect(table.settledCount).toBe(1);
    const records = [...table.records()].length;
    cache.receive(changed(entry));
    expect([table.settledCount, [...table.records()].length]).toEqual([1, records]);
    expect(workKeys()).toEqual([]);
    cache.receive(changed({ ...entry, mac: mac(99) }));
    expect(table.settledCount).toBe(0);
    expect(workKeys()).toEqual([resourceKey(entry)]);
    cache.receive(deleted(entry));
    expect(at(entry).actual).toBeUndefined();
  });

  test("keeps an entry damped when it is changed again", () => {
    inSync(DEVICE, neighbour(2, 2));
    const entry = at(neighbour(2, 2));
    failures.addDamped(entry, { delayMs: 1000, round: 1 });
    cache.receive(changed(neighbour(2, 9)));
    expect(entry.failure?.kind).toBe("damped");
    cache.receive(changed(neighbour(2, 2)));
    expect(entry.failure).toBeUndefined();
  });

  test("requests a dump when a device's MAC changes, because its neighbours vanish", () => {
    inSync(DEVICE, neighbour(2, 2));
    cache.receive(changed({ ...DEVICE, mac: mac(9) }));
    expect(devicesToDump()).toEqual(["flannel.1"]);
  });

  test("requests a dump when a device goes down or up, but not for another MTU", () => {
    inSync(DEVICE);
    cache.receive(changed({ ...DEVICE, mtuBytes: 1300 }));
    expect(devicesToDump()).toEqual([]);
    cache.receive(changed({ ...DEVICE, up: false }));
    expect(devicesToDump()).toEqual(["flannel.1"]);
    forget();
    cache.receive(changed(DEVICE));
    expect(devicesToDump()).toEqual(["flannel.1"]);
    expect(at(DEVICE).isInSync).toBe(true);
  });

  test("requests a dump for a device that is reported as down, even if that was known", () => {
    inSync(DEVICE);
    cache.receive(changed({ ...DEVICE, up: false }));
    forget();
    cache.receive(changed({ ...DEVICE, up: false }));
    expect(devicesToDump()).toEqual(["flannel.1"]);
  });

  test("adds work for the entries that wait for a device when it changes", () => {
    inSync(DEVICE);
    work.waitFor("flannel.1", resourceKey(tunnelRoute(2)));
    cache.receive(changed({ ...DEVICE, mtuBytes: 1300 }));
    expect(workKeys()).toContain(resourceKey(tunnelRoute(2)));
  });

  test("forgets all entries on a deleted device, and no others", () => {
    inSync(DEVICE, neighbour(2, 2), fdb(2, 2), tunnelRoute(2), directRoute(3), ACCEPT_RA);
    cache.receive(changed(tunnelRoute(9)));
    cache.receive(deleted(DEVICE));
    for (const lost of [DEVICE, neighbour(2, 2), fdb(2, 2), tunnelRoute(2), ACCEPT_RA]) {
      expect([at(lost).actual, at(lost).isOurChange]).toEqual([undefined, false]);
    }
    expect(at(directRoute(3)).isInSync).toBe(true);
    expect(table.get(resourceKey(tunnelRoute(9)))).toBeUndefined();
    expect(workKeys()).toEqual(
      [DEVICE, neighbour(2, 2), fdb(2, 2), tunnelRoute(2), ACCEPT_RA].map(resourceKey).sort(),
    );
  });

  test("requests a dump when a device loses an IPv4 address, because routes may vanish", () => {
    inSync(DEVICE, address(1));
    cache.receive(deleted(address(1)));
    expect(devicesToDump()).toEqual(["flannel.1"]);
    forget();
    const v6: Resource = {
      kind: "address",
      link: "flannel-v6.1",
      address: ip("fc00:0:0:1::"),
      prefixLength: 128,
    };
    inSync(DEVICE, v6);
    cache.receive(deleted(v6));
    expect(devicesToDump()).toEqual([]);
    expect(workKeys()).toEqual([resourceKey(v6)]);
  });

  test("requests a full dump at once when notifications were lost", () => {
    inSync(DEVICE);
    resync.requestAllLater(5);
    expect(devicesToDump()).toEqual([]);
    cache.receive({ kind: "overrun" });
    expect(devicesToDump()).toBe("all");
  });
});

describe("KernelCache, notified of the external interface,", () => {
  test("reports what changed, and requests a dump", () => {
    inSync(DEVICE);
    cache.receive(changed({ ...ETH0, up: false }));
    cache.receive(changed({ ...ETH0, mtuBytes: 1400 }));
    cache.receive(deleted(ETH0));
    cache.receive(deleted(ETH0));
    cache.receive(changed(ETH0));
    expect(reasons).toEqual([
      "down",
      "up, MTU 1400",
      "deleted",
      "created",
    ]);
    expect(devicesToDump()).toEqual(["eth0"]);
    expect(external.link).toEqual(ETH0);
  });

  test("reports no notification without a change, nor another interface", () => {
    inSync(DEVICE);
    cache.receive(changed(ETH0));
    cache.receive(changed({ ...ETH0, mac: mac(7) }));
    cache.receive(changed({ ...ETH0, name: "eth1", up: false }));
    cache.receive(changed({ ...address(7), link: "eth1" }));
    expect(reasons).toEqual([]);
    expect(devicesToDump()).toEqual([]);
  });

  test("reports another address, and requests a dump when an IPv4 address is deleted", () => {
    inSync(DEVICE);
    const own: Resource = { ...address(1), link: "eth0" };
    cache.receive(changed(own));
    expect(reasons).toEqual(["address 10.5.1.0 set"]);
    expect(devicesToDump()).toEqual([]);
    cache.receive(deleted(own));
    expect(reasons).toEqual(["address 10.5.1.0 set", "address 10.5.1.0 deleted"]);
    expect(devicesToDump()).toEqual(["eth0"]);
  });

  test("does not mistake an entry on the interface for the interface", () => {
    inSync(DEVICE);
    cache.receive(deleted({ ...address(1), link: "eth0" }));
    cache.receive(deleted({ ...directRoute(2), link: "eth0" }));
    expect(external.link).toEqual(ETH0);
  });

  test("retries the entries that failed or wait for it once it is created", () => {
    inSync(DEVICE);
    table.setDesired("direct", [directRoute(2), directRoute(3)], 0n, () => {});
    const failing = at(directRoute(2));
    failing.failure = undefined;
    failures.addFailed([{
      entry: failing,
      step: { op: "set", resource: directRoute(2) },
      error: new KernelError({ operation: "set it", errno: "ENETUNREACH" }),
    }]);
    failures.addConflict(at(directRoute(3)), foreignRoute(3));
    work.waitFor("eth0", resourceKey(neighbour(2, 2)));
    cache.receive(deleted(ETH0));
    expect(workKeys()).toEqual([resourceKey(directRoute(2))]);
    cache.receive(changed(ETH0));
    expect(workKeys()).toEqual([resourceKey(neighbour(2, 2)), resourceKey(directRoute(2))].sort());
  });

  test("forgets it when another one takes its place", () => {
    inSync(DEVICE);
    external.setName("eth0");
    expect(external.link).toEqual(ETH0);
    external.setName("eth1");
    expect([external.name, external.link]).toEqual(["eth1", undefined]);
    external.observe({ ...ETH0, name: "eth1" });
    expect(reasons).toEqual(["created"]);
    external.setName(undefined);
    expect([external.name, external.link]).toEqual([undefined, undefined]);
  });

  test("reports no change when the first dump shows it", () => {
    cache.beginDump();
    cache.load([ETH0], OWNERSHIP.links);
    expect(reasons).toEqual([]);
    external.observe(undefined);
    expect(reasons).toEqual(["deleted"]);
  });
});

describe("KernelCache, of this program's own changes,", () => {
  test("records the acknowledgement, and ignores the notification of it", () => {
    inSync(DEVICE);
    table.setDesired("peer", [tunnelRoute(2)], 0n, () => {});
    apply({ op: "set", resource: tunnelRoute(2) });
    expect(at(tunnelRoute(2)).isInSync).toBe(true);
    expect(at(tunnelRoute(2)).isOurChange).toBe(true);
    cache.receive(changed(tunnelRoute(2)));
    expect(workKeys()).toEqual([]);
    expect(at(tunnelRoute(2)).hasDrifted).toBe(false);
    expect(at(tunnelRoute(2)).actual).toBe(at(tunnelRoute(2)).desired);
  });

  test("forgets an entry that it deleted", () => {
    inSync(DEVICE, tunnelRoute(2));
    table.setDesired("node", [DEVICE], 0n, () => {});
    apply({ op: "delete", resource: tunnelRoute(2) });
    expect(table.get(resourceKey(tunnelRoute(2)))).toBeUndefined();
    cache.receive(deleted(tunnelRoute(2)));
    expect(table.get(resourceKey(tunnelRoute(2)))).toBeUndefined();
  });

  test("adds work for an entry whose desired state changed before the acknowledgement", () => {
    inSync(DEVICE);
    table.setDesired("peer", [neighbour(2, 3)], 0n, () => {});
    apply({ op: "set", resource: neighbour(2, 2) });
    expect(at(neighbour(2, 2)).actual).toEqual(neighbour(2, 2));
    expect(workKeys()).toEqual([resourceKey(neighbour(2, 2))]);
    forget();
    table.setDesired("peer", [], 0n, () => {});
    apply({ op: "set", resource: neighbour(2, 2) });
    expect(at(neighbour(2, 2)).isOurChange).toBe(true);
    expect(workKeys()).toEqual([resourceKey(neighbour(2, 2))]);
  });

  test("prefers a later foreign change to the acknowledgement", () => {
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
    expect(workKeys()).toEqual([resourceKey(neighbour(2, 2))]);
  });

  test("prefers its own change to an earlier foreign one", () => {
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

  test("expects no notification of a refused change", () => {
    inSync(DEVICE);
    table.setDesired("peer", [neighbour(2, 2)], 0n, () => {});
    const step: Step = { op: "set", resource: neighbour(2, 2) };
    cache.beginSteps(new Map([[step, resourceKey(step.resource)]]));
    cache.refused(at(neighbour(2, 2)), step);
    cache.endSteps();
    cache.receive(changed(neighbour(2, 2)));
    expect(at(neighbour(2, 2)).isOurChange).toBe(false);
    cache.receive(deleted(neighbour(2, 2)));
    expect(at(neighbour(2, 2)).hasDrifted).toBe(true);
  });

  test("requests a dump after it changed a device's MAC or state, but not its MTU", () => {
    inSync(DEVICE);
    for (const from of [{ mac: mac(9) }, { up: false }]) {
      apply({ op: "change", resource: DEVICE, from: { ...DEVICE, ...from } as Link });
      expect(devicesToDump()).toEqual(["flannel.1"]);
      forget();
    }
    apply({ op: "change", resource: DEVICE, from: { ...DEVICE, mtuBytes: 1300 } });
    expect(devicesToDump()).toEqual([]);
  });

  test("requests no dump for the notifications of a device that it creates", () => {
    inSync();
    table.setDesired("node", [DEVICE], 0n, () => {});
    apply({ op: "set", resource: DEVICE });
    cache.receive(changed({ ...DEVICE, up: false }));
    cache.receive(changed(DEVICE));
    expect(devicesToDump()).toEqual([]);
    expect(at(DEVICE).isInSync).toBe(true);
    cache.receive(changed({ ...DEVICE, up: false }));
    expect(devicesToDump()).toEqual(["flannel.1"]);
  });

  test("adds work for the entries that wait for a device that it created or changed", () => {
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
      expect(workKeys()).toContain(resourceKey(tunnelRoute(2)));
    }
  });

  test("forgets all entries on a device that it deleted", () => {
    inSync(DEVICE, fdb(2, 2));
    apply({ op: "delete", resource: DEVICE });
    expect(at(fdb(2, 2)).actual).toBeUndefined();
    expect(workKeys()).toContain(resourceKey(fdb(2, 2)));
  });

  test("does not record acknowledged entries on a device that vanished meanwhile", () => {
    inSync(DEVICE);
    table.setDesired("peer", [fdb(2, 2)], 0n, () => {});
    const step: Step = { op: "set", resource: fdb(2, 2) };
    cache.beginSteps(new Map([[step, resourceKey(step.resource)]]));
    cache.receive(deleted(DEVICE));
    cache.applied(at(fdb(2, 2)), step);
    cache.endSteps();
    expect(at(fdb(2, 2)).actual).toBeUndefined();
    expect(workKeys()).toContain(resourceKey(fdb(2, 2)));
  });

  test("requests a dump after it deleted an IPv4 address", () => {
    inSync(DEVICE, address(1));
    apply({ op: "delete", resource: address(1) });
    expect(devicesToDump()).toEqual(["flannel.1"]);
  });
});

describe("KernelCache, of a dump,", () => {
  test("records entries that are there and entries that vanished", () => {
    inSync(DEVICE, neighbour(2, 2), tunnelRoute(2));
    cache.beginDump();
    cache.load([ETH0, DEVICE, neighbour(2, 9), foreignRoute(4)], OWNERSHIP.links);
    expect(at(neighbour(2, 2)).actual).toEqual(neighbour(2, 9));
    expect(at(tunnelRoute(2)).actual).toBeUndefined();
    expect(table.get(resourceKey(foreignRoute(4)))).toBeUndefined();
    expect(workKeys()).toEqual([resourceKey(neighbour(2, 2)), resourceKey(tunnelRoute(2))].sort());
  });

  test("prefers a notification during the dump to the dump", () => {
    inSync(DEVICE, neighbour(2, 2), tunnelRoute(2));
    cache.beginDump();
    cache.receive(deleted(neighbour(2, 2)));
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

  test("notices that a device vanished during the dump, with all its entries", () => {
    inSync(DEVICE, fdb(2, 2));
    cache.beginDump();
    cache.receive(deleted(DEVICE));
    cache.receive(deleted(ETH0));
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

  test("of some devices leaves entries on others and sysctls alone", () => {
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

  test("shows that a device was deleted, with the entries on it", () => {
    inSync(DEVICE, fdb(2, 2));
    cache.beginDump();
    cache.load([ETH0], new Set());
    expect(at(DEVICE).actual).toBeUndefined();
    expect(at(fdb(2, 2)).actual).toBeUndefined();
  });

  test("uses the one in sync of several entries with one key, in any order", () => {
    for (const order of [[fdb(2, 2), fdb(2, 9)], [fdb(2, 9), fdb(2, 2)]]) {
      inSync(DEVICE, fdb(2, 2));
      cache.beginDump();
      cache.load([ETH0, DEVICE, ...order], OWNERSHIP.links);
      expect(at(fdb(2, 2)).isInSync).toBe(true);
    }
  });

  test("uses the last of several entries with one key if none is desired", () => {
    inSync(DEVICE);
    cache.beginDump();
    cache.load([ETH0, DEVICE, fdb(2, 2), fdb(2, 9)], OWNERSHIP.links);
    expect(at(fdb(2, 2)).actual).toEqual(fdb(2, 9));
  });

  test("shows that the external interface was deleted or changed", () => {
    inSync(DEVICE);
    cache.beginDump();
    cache.load([DEVICE, { ...directRoute(2), link: "eth0" }], OWNERSHIP.links);
    cache.load([DEVICE, { ...ETH0, up: false }], OWNERSHIP.links);
    expect(reasons).toEqual(["deleted", "created"]);
    expect(external.link?.up).toBe(false);
  });

  test("looks for no external interface if none is named", () => {
    inSync(DEVICE);
    external.setName(undefined);
    cache.beginDump();
    cache.load([DEVICE, ETH0], OWNERSHIP.links);
    expect(external.link).toBeUndefined();
    expect(reasons).toEqual([]);
  });
});

describe("EntryPlanner", () => {
  const wait = (desired: Resource) => planner.blockerOf(desired, new Map());

  test("blocks all entries but sysctls while their device is down", () => {
    inSync(DEVICE);
    cache.receive(changed({ ...DEVICE, up: false }));
    expect([fdb(2, 2), tunnelRoute(2), address(1)].map(wait)).toEqual(Array(3).fill("flannel.1"));
    expect(wait(ACCEPT_RA)).toBeUndefined();
    cache.receive(changed(DEVICE));
    expect([fdb(2, 2), tunnelRoute(2), address(1)].map(wait)).toEqual(Array(3).fill(undefined));
    cache.receive(deleted(DEVICE));
    expect([fdb(2, 2), ACCEPT_RA].map(wait)).toEqual(["flannel.1", "flannel.1"]);
  });

  test("blocks entries on a device of another type with the name of ours", () => {
    inSync(DEVICE);
    cache.receive(changed({ ...ETH0, name: "flannel.1", linkKind: "bridge" }));
    expect([fdb(2, 2), ACCEPT_RA].map(wait)).toEqual(["flannel.1", "flannel.1"]);
  });

  test("does not wait for a device that is not ours to create, nor without a device", () => {
    inSync(DEVICE);
    const { link: _, gateway: __, ...rest } = directRoute(2);
    expect(wait({ ...rest, type: "blackhole" })).toBeUndefined();
    expect(wait({ ...fdb(2, 2), link: "other.1" })).toBeUndefined();
    expect(wait({ ...ACCEPT_RA, path: "net/ipv4/ip_forward" })).toBeUndefined();
  });

  test("keeps routes until the external interface is up, a vxlan device until it exists", () => {
    inSync(DEVICE);
    expect([directRoute(2), DEVICE].map(wait)).toEqual([undefined, undefined]);
    cache.receive(changed({ ...ETH0, up: false }));
    expect([directRoute(2), DEVICE].map(wait)).toEqual(["eth0", undefined]);
    cache.receive(deleted(ETH0));
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

  test("caches its result for a batch", () => {
    inSync(DEVICE);
    const usable = new Map<string, boolean>();
    expect(planner.blockerOf(fdb(2, 2), usable)).toBeUndefined();
    cache.receive(changed({ ...DEVICE, up: false }));
    expect(planner.blockerOf(fdb(2, 2), usable)).toBeUndefined();
    expect(planner.blockerOf(fdb(2, 2), new Map())).toBe("flannel.1");
  });

  test("deletes undesired entries of ours once the desired state and the dump are complete", () => {
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

  test("deletes an entry that this process created, even if the ownership has changed", () => {
    inSync(DEVICE);
    planner.isDesiredComplete = true;
    const foreign: Resource = { ...directRoute(2), protocol: 4 };
    table.setDesired("peer", [foreign], 0n, () => {});
    apply({ op: "set", resource: foreign });
    table.setDesired("peer", [], 0n, () => {});
    expect(planner.decide(at(foreign)).kind).toBe("act");
  });

  test("adopts Go flannel's route, and leaves another one alone", () => {
    inSync(DEVICE);
    table.setDesired("direct", [directRoute(2), directRoute(3)], 0n, () => {});
    cache.receive(changed(directRoute(2, 3)));
    cache.receive(changed(foreignRoute(3)));
    expect(planner.decide(at(directRoute(2))).kind).toBe("act");
    expect(planner.decide(at(directRoute(3))).kind).toBe("conflict");
  });

  test("owns nothing before the ownership is set", () => {
    const fresh = new EntryPlanner({ table, external, resync });
    expect(fresh.isOurs(DEVICE)).toBe(false);
    expect(fresh.isOurs(directRoute(2))).toBe(false);
  });
});
