/** What the reconciler dumps, its chunks, its delays, and when it is settled. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { KernelError } from "../../../src/kernel/kernel.ts";
import { Reconciler, type ReconcilerScope } from "../../../src/reconcile/reconciler.ts";
import { resourceKey } from "../../../src/state/resource_key.ts";
import type { Resource, ResourceKind } from "../../../src/state/resource.ts";
import type { Step } from "../../../src/state/step.ts";
import {
  address,
  directRoute,
  fdb,
  foreignRoute,
  neighbour,
  OWNERSHIP,
  tunnelRoute,
  UNDERLAY,
  vxlanDevice,
} from "../../support/arbitrary_state.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { ETH0, ip } from "../../support/sample_network.ts";

const SCOPE: ReconcilerScope = { ownership: OWNERSHIP, external: "eth0" };
const DEVICE = vxlanDevice("flannel.1");
const ACCEPT_RA: Resource = {
  kind: "sysctl",
  path: "net/ipv6/conf/flannel.1/accept_ra",
  value: "0",
};
const NODE: readonly Resource[] = [DEVICE, ACCEPT_RA, address(1)];

/** A kernel that records the requests, and their times. */
class ObservedKernel extends FakeKernel {
  readonly dumped: { kinds: readonly ResourceKind[]; links: string[] }[] = [];
  readonly applied: { atMs: number; steps: readonly Step[] }[] = [];
  /** Sends no response. */
  isBroken = false;

  override dump(kinds: readonly ResourceKind[], links?: ReadonlySet<string>): Promise<Resource[]> {
    this.dumped.push({ kinds, links: [...links ?? []] });
    return super.dump(kinds, links);
  }

  override apply(steps: readonly Step[]): ReturnType<FakeKernel["apply"]> {
    this.applied.push({ atMs: clock.nowMs() - beginMs, steps });
    if (this.isBroken) {
      return Promise.reject(
        new KernelError({ operation: "receive over netlink", errno: "ENOBUFS" }),
      );
    }
    return super.apply(steps);
  }
}

let kernel: ObservedKernel;
let clock: FakeClock;
let beginMs: number;
let records: LogRecord[];
let reconciler: Reconciler;
let sysctlReads: number;
/** The value of each sysctl. */
let sysctlValue: string;

beforeEach(() => {
  kernel = new ObservedKernel();
  kernel.seed(...UNDERLAY);
  clock = new FakeClock(() => 0.5);
  const collecting = collectingLog();
  records = collecting.records;
  sysctlReads = 0;
  sysctlValue = "0";
  reconciler = new Reconciler({
    kernel,
    log: collecting.log,
    clock,
    readSysctl: () => {
      sysctlReads++;
      return Promise.resolve(`${sysctlValue}\n`);
    },
  });
});

afterEach(async () => {
  await reconciler[Symbol.asyncDispose]();
});

async function running(...resources: Resource[]): Promise<void> {
  reconciler.start(SCOPE);
  reconciler.setDesired("node", [...NODE, ...resources]);
  reconciler.allowSweep();
  await clock.advance(1000);
  expect(await isSettled()).toBe(true);
  forget();
}

function forget(): void {
  kernel.dumped.length = 0;
  kernel.applied.length = 0;
  kernel.takeAsked();
  records.length = 0;
  sysctlReads = 0;
  beginMs = clock.nowMs();
}

async function isSettled(): Promise<boolean> {
  let settled = false;
  void reconciler.whenSettled().then(() => settled = true);
  await Promise.resolve();
  return settled;
}

/** The lines at warn and above. */
function warnings(): string[] {
  return records.filter(({ level }) => ["warn", "error", "fatal"].includes(level))
    .map(({ msg }) => msg);
}

describe("Reconciler", () => {
  test("dumps and applies nothing before it is started", async () => {
    reconciler.setDesired("node", NODE);
    reconciler.allowSweep();
    await clock.advance(1000);
    expect(kernel.dumped).toEqual([]);
    expect(await isSettled()).toBe(false);
  });

  test("applies nothing before the first dump", async () => {
    kernel.interruptedDumps = 2;
    reconciler.start(SCOPE);
    reconciler.setDesired("node", NODE);
    await clock.advance(60);
    expect(kernel.dumped).toHaveLength(1);
    expect(kernel.asked).toEqual([]);
    expect(await isSettled()).toBe(false);
    await clock.advance(1000);
    expect(await isSettled()).toBe(true);
  });

  test("creates devices, then what they need, then the rest, each in one batch", async () => {
    sysctlValue = "1";
    reconciler.start(SCOPE);
    reconciler.setDesired("node", [tunnelRoute(2), fdb(2, 2), ...NODE]);
    await clock.advance(1000);
    const kinds = kernel.applied.map(({ steps }) => steps.map(({ resource }) => resource.kind));
    expect(kinds).toEqual([["link"], ["sysctl", "address"], ["fdb", "route"]]);
  });

  test("sends a large change in chunks", async () => {
    await running();
    const many = Array.from({ length: 4500 }, (_, i): Resource => ({
      ...neighbour(1, 2),
      address: ip(`10.5.${i >> 8}.${i & 255}`),
    }));
    reconciler.setDesired("many", many);
    await clock.advance(100);
    expect(kernel.applied.map(({ steps }) => steps.length)).toEqual([2000, 2000, 500]);
  });

  test("sends no batch without work", async () => {
    await running(tunnelRoute(2));
    reconciler.setScope(SCOPE);
    reconciler.allowSweep();
    await clock.advance(600_000);
    expect(kernel.dumped.length).toBeGreaterThan(1);
    expect(kernel.applied).toEqual([]);
  });

  test("sets sysctls once if it cannot read them", async () => {
    const plain = new Reconciler({ kernel, log: collectingLog().log, clock });
    plain.start(SCOPE);
    plain.setDesired("node", NODE);
    await clock.advance(700_000);
    const written = kernel.asked.filter((step) => step.includes("accept_ra"));
    expect(written).toHaveLength(1);
    expect(plain.status().failing).toEqual([]);
    await plain[Symbol.asyncDispose]();
  });

  test("does not count its own changes as repairs, however many there are", async () => {
    await running();
    for (let i = 0; i < 40; i++) {
      reconciler.setDesired("peer", [neighbour(2, 2 + i % 2)]);
      await clock.advance(60);
    }
    expect(reconciler.status().failing).toEqual([]);
    expect(kernel.asked).toHaveLength(40);
  });

  test("logs a repair once, and not its own next change", async () => {
    await running(neighbour(2, 2));
    kernel.outside({ op: "delete", resource: neighbour(2, 2) });
    await clock.advance(100);
    reconciler.setDesired("node", [...NODE, neighbour(2, 3)]);
    await clock.advance(100);
    const lines = records.filter(({ level }) => level !== "trace");
    expect(lines.map(({ level, msg }) => `${level}: ${msg}`)).toEqual([
      "debug: repaired: neigh 10.5.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent",
    ]);
  });

  test("logs the first thousand key conflicts, and no more", async () => {
    await running();
    for (let i = 0; i < 1100; i++) {
      const entry: Resource = { ...neighbour(1, 2), address: ip(`10.5.${i >> 8}.${i & 255}`) };
      reconciler.setDesired(`a${i}`, [entry], 1n);
      reconciler.setDesired(`b${i}`, [{ ...entry, mac: neighbour(1, 3).mac }], 2n);
    }
    expect(warnings()).toHaveLength(1000);
  });
});

describe("Reconciler, when it dumps,", () => {
  const ALL_KINDS = ["link", "address", "neighbour", "fdb", "route"];

  test("dumps all kinds on all of its devices, and the extra kinds of the backend", async () => {
    const fou = { ...OWNERSHIP, extraKinds: ["fou"] as const };
    reconciler.start({ ownership: fou, external: "eth0" });
    await clock.advance(1000);
    expect(kernel.dumped).toEqual([
      { kinds: [...ALL_KINDS, "fou"] as never, links: ["flannel.1", "flannel-v6.1"] },
    ]);
  });

  test("dumps only the device that changed, and no sysctls", async () => {
    await running();
    kernel.setLinkState("flannel.1", "down");
    await clock.advance(4);
    expect(kernel.dumped).toEqual([]);
    await clock.advance(2);
    expect(kernel.dumped).toEqual([{ kinds: ALL_KINDS as never, links: ["flannel.1"] }]);
    expect(sysctlReads).toBe(0);
  });

  test("dumps only links and routes when the external interface changed", async () => {
    await running();
    kernel.outside({ op: "change", resource: { ...ETH0, mtuBytes: 1400 }, from: ETH0 });
    await clock.advance(1000);
    expect(kernel.dumped).toEqual([{ kinds: ["link", "route"], links: [] }]);
  });

  test("does not dump a device again because of its dump", async () => {
    await running(tunnelRoute(2));
    // Without a notification; the routes vanish with the address.
    kernel.table.delete(resourceKey(address(1)));
    kernel.table.delete(resourceKey(tunnelRoute(2)));
    reconciler.setScope(SCOPE);
    await clock.advance(1000);
    expect(kernel.dumped).toHaveLength(1);
    expect(kernel.table.has(resourceKey(tunnelRoute(2)))).toBe(true);
  });

  test("dumps the external interface when another dump shows its change", async () => {
    await running();
    kernel.table.set(resourceKey(ETH0), { ...ETH0, mtuBytes: 1400 });
    kernel.outside({ op: "delete", resource: address(1) });
    await clock.advance(1000);
    expect(kernel.dumped.map(({ links }) => links)).toEqual([["flannel.1"], []]);
  });

  test("discards a dump during which notifications were lost", async () => {
    await running();
    const stray = tunnelRoute(9);
    kernel.table.set(resourceKey(stray), stray);
    kernel.afterDump = () => {
      kernel.afterDump = () => {};
      kernel.table.delete(resourceKey(stray));
      kernel.overrun();
    };
    reconciler.setScope(SCOPE);
    await clock.advance(1000);
    expect(kernel.dumped).toHaveLength(2);
    expect(kernel.asked).toEqual([]);
  });
});

describe("Reconciler, when the kernel does not respond,", () => {
  test("logs it and retries with growing delays, and starts over after a success", async () => {
    await running();
    kernel.isBroken = true;
    reconciler.setDesired("peer", [fdb(2, 2)]);
    await clock.advance(1000);
    const times = kernel.applied.map(({ atMs }) => atMs);
    expect(times).toEqual([0, 75, 225, 525]);
    const lines = Array(4).fill("reconcile pass failed; reading the kernel tables again");
    expect(warnings()).toEqual(lines);
    expect(records.find(({ level }) => level === "error")?.err).toMatchObject({
      message: expect.stringContaining("ENOBUFS"),
    });
    kernel.isBroken = false;
    await clock.advance(1000);
    expect(kernel.table.has(resourceKey(fdb(2, 2)))).toBe(true);
    forget();
    kernel.isBroken = true;
    reconciler.setDesired("peer", [fdb(2, 3)]);
    await clock.advance(100);
    expect(kernel.applied.map(({ atMs }) => atMs)).toEqual([0, 75]);
  });
});

describe("Reconciler, when a step is refused,", () => {
  /** Refuses the first step of this kind. */
  function refuseOnce(kind: ResourceKind, code: string): void {
    kernel.refuse = ({ resource }) => {
      if (resource.kind !== kind) return undefined;
      kernel.refuse = () => undefined;
      return code;
    };
  }

  test.each(["EEXIST", "ENODEV", "ENXIO", "ENETDOWN", "EADDRNOTAVAIL"])(
    "dumps the device of an entry again after %s",
    async (code) => {
      await running();
      refuseOnce("fdb", code);
      reconciler.setDesired("peer", [fdb(2, 2)]);
      await clock.advance(50);
      expect(kernel.dumped.map(({ links }) => links)).toEqual([["flannel.1"]]);
    },
  );

  test("dumps a device again that could not be changed", async () => {
    await running();
    refuseOnce("link", "ENODEV");
    reconciler.setDesired("node", [{ ...DEVICE, mtuBytes: 1300 } as Resource, ...NODE.slice(1)]);
    await clock.advance(50);
    expect(kernel.dumped.map(({ links }) => links)).toEqual([["flannel.1"]]);
  });

  test("dumps nothing after another refusal, nor without a device", async () => {
    await running();
    const { link: _, gateway: __, ...rest } = directRoute(2);
    refuseOnce("fdb", "EPERM");
    reconciler.setDesired("peer", [fdb(2, 2)]);
    await clock.advance(50);
    refuseOnce("route", "ENODEV");
    reconciler.setDesired("blackhole", [{ ...rest, type: "blackhole" }]);
    await clock.advance(50);
    expect(kernel.dumped).toEqual([]);
  });

  test("dumps the routes when another route holds a blackhole's key", async () => {
    await running();
    const { link: _, gateway: __, ...rest } = directRoute(2);
    refuseOnce("route", "EEXIST");
    reconciler.setDesired("blackhole", [{ ...rest, type: "blackhole" }]);
    await clock.advance(50);
    expect(kernel.dumped).toEqual([{ kinds: ["link", "route"], links: [] }]);
  });

  test("retries on time, and logs that the entry is in sync again", async () => {
    await running();
    let left = 2;
    kernel.refuse = ({ resource }) => resource.kind === "fdb" && left-- > 0 ? "EPERM" : undefined;
    reconciler.setDesired("peer", [fdb(2, 2)]);
    await clock.advance(10);
    reconciler.setDesired("other", [neighbour(2, 2)]);
    await clock.advance(1000);
    const times = kernel.applied.filter(({ steps }) => steps[0]?.resource.kind === "fdb")
      .map(({ atMs }) => atMs);
    expect(times).toEqual([0, 75, 225]);
    expect(records.at(-1)).toMatchObject({
      level: "info",
      msg: "fdb 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.2 self permanent is in sync again",
    });
  });

  test("forgets the failure of an entry that is no longer desired", async () => {
    await running();
    const acknowledged = Promise.withResolvers<void>();
    kernel.acknowledge = () => acknowledged.promise;
    refuseOnce("fdb", "EPERM");
    reconciler.setDesired("peer", [fdb(2, 2)]);
    await clock.advance(10);
    reconciler.removeOwner("peer");
    acknowledged.resolve();
    await clock.advance(10);
    expect(reconciler.status().failing).toEqual([]);
    expect(warnings()).toEqual([]);
  });

  test("reports that an entry cannot be deleted, and retries", async () => {
    await running(fdb(2, 2));
    refuseOnce("fdb", "EPERM");
    reconciler.setDesired("node", NODE);
    await clock.advance(10);
    expect(reconciler.status().failing).toHaveLength(1);
    await clock.advance(1000);
    expect(reconciler.status().failing).toEqual([]);
    expect(kernel.table.has(resourceKey(fdb(2, 2)))).toBe(false);
  });

  test("leaves a foreign entry with our key alone, and reports it once", async () => {
    await running();
    kernel.outside({ op: "set", resource: foreignRoute(2) });
    reconciler.setDesired("direct", [directRoute(2)]);
    await clock.advance(600_000);
    expect(warnings()).toEqual([
      expect.stringContaining("EEXIST"),
      expect.stringContaining(
        "conflicts with an existing entry not owned by flanneld: route 10.5.2.0/24 dev eth1",
      ),
    ]);
    expect(kernel.asked).toHaveLength(1);
  });
});

test("Reconciler delays the repairs of an entry that another program keeps changing", async () => {
  await running(neighbour(2, 2));
  const theirs = neighbour(2, 9);
  kernel.delivery = "now";
  const times: number[] = [];
  kernel.watch((event) => {
    const isOurs = event.kind === "changed" && event.resource.kind === "neighbour" &&
      event.resource.mac === neighbour(2, 2).mac;
    if (!isOurs) return;
    times.push(clock.nowMs() - beginMs);
    clock.setTimer(100, () => kernel.outside({ op: "set", resource: theirs }));
  });
  kernel.outside({ op: "set", resource: theirs });
  await clock.advance(120_000);
  // Fifteen at once, then 0.75 s, 1.5 s, 3 s … up to 45 s after the last one.
  const pauses = times.slice(1).map((time, i) => time - (times[i] as number));
  expect(pauses.slice(0, 14).every((pause) => pause < 120)).toBe(true);
  const waits = pauses.slice(14).map((pause) => Math.round(pause / 50) * 50);
  expect(waits).toEqual([750, 1500, 3000, 6000, 12_000, 24_000, 45_000]);
  expect(warnings().map((line) => /in (\d+) s$/.exec(line)?.[1])).toEqual(
    ["1", "2", "3", "6", "12", "24", "45", "45"],
  );
});

describe("Reconciler.whenSettled()", () => {
  test("waits for a requested dump, and for a change that is not applied yet", async () => {
    await running();
    reconciler.setScope(SCOPE);
    expect(await isSettled()).toBe(false);
    await clock.advance(1000);
    expect(await isSettled()).toBe(true);
    reconciler.setDesired("peer", [fdb(2, 2)]);
    expect(await isSettled()).toBe(false);
    await clock.advance(1000);
    expect(await isSettled()).toBe(true);
  });

  test("waits for the kernel's acknowledgement", async () => {
    await running();
    const acknowledged = Promise.withResolvers<void>();
    kernel.acknowledge = () => acknowledged.promise;
    reconciler.setDesired("peer", [fdb(2, 2)]);
    await clock.advance(1000);
    expect(await isSettled()).toBe(false);
    acknowledged.resolve();
    await clock.advance(0);
    expect(await isSettled()).toBe(true);
  });

  test("does not resolve at the end of a pass that leaves work", async () => {
    let settled = false;
    kernel.interruptedDumps = 3;
    reconciler.start(SCOPE);
    void reconciler.whenSettled().then(() => settled = true);
    await clock.advance(150);
    expect(kernel.dumped.length).toBeGreaterThan(1);
    expect(settled).toBe(false);
    await clock.advance(10_000);
    expect(settled).toBe(true);
  });
});

describe("Reconciler, when it stops,", () => {
  test("ends before it was started", async () => {
    await reconciler[Symbol.asyncDispose]();
    expect(await isSettled()).toBe(true);
  });

  test("finishes the chunk in flight, and leaves the others", async () => {
    await running();
    const acknowledged = Promise.withResolvers<void>();
    kernel.acknowledge = () => acknowledged.promise;
    const many = Array.from({ length: 4500 }, (_, i): Resource => ({
      ...neighbour(1, 2),
      address: ip(`10.5.${i >> 8}.${i & 255}`),
    }));
    reconciler.setDesired("many", many);
    await clock.advance(10);
    const stopped = reconciler[Symbol.asyncDispose]();
    acknowledged.resolve();
    await clock.advance(1000);
    await stopped;
    expect(kernel.asked).toHaveLength(2000);
  });
});
