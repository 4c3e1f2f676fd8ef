/** Batches, errors, notifications and races with the real kernel. */

import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { KernelEvent } from "../../src/kernel/kernel.ts";
import { NetlinkKernel } from "../../src/kernel/netlink_kernel.ts";
import { NetlinkSocket } from "../../src/kernel/wire/netlink_socket.ts";
import { deviceOf } from "../../src/state/resource_key.ts";
import type { Step } from "../../src/state/step.ts";
import {
  address,
  collect,
  fdb,
  neighbour,
  remove,
  route,
  run,
  Sandbox,
  set,
  until,
  vxlan,
} from "./netlink_support.ts";
import { eventually } from "../support/wait.ts";

const SOURCE = join(import.meta.dir, "../../src");
const CLOCK = JSON.stringify(join(SOURCE, "base/clock.ts"));

let sandbox: Sandbox;
beforeEach(() => void (sandbox = new Sandbox()));
afterEach(() => sandbox[Symbol.dispose]());

/** `count` neighbours of flannel.1, from 10.0.0.0 up. */
function manyNeighbours(count: number, mac?: string): Step[] {
  return Array.from({ length: count }, (_, i) => ({
    op: "set",
    resource: neighbour(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, mac),
  }));
}

test("each failed step of a batch has its own errno and the kernel's reason", async () => {
  const { kernel } = sandbox;
  const steps: Step[] = [
    { op: "set", resource: vxlan() },
    { op: "set", resource: neighbour("10.5.2.0") },
    { op: "set", resource: route("10.5.9.0/24", { gateway: "198.51.100.1", link: "under0" }) },
    { op: "set", resource: route("10.5.2.0/24", { gateway: "10.5.2.0", onlink: true }) },
    { op: "set", resource: { ...fdb("192.0.2.2"), link: "lo" } },
    { op: "set", resource: { ...neighbour("10.5.3.0"), link: "missing" } },
    { op: "set", resource: vxlan({ name: "flannel.2", vni: 1 }) },
    { op: "set", resource: vxlan({ name: "flannel.3", vni: 3, underlay: "missing" }) },
    { op: "set", resource: address("10.5.1.0", 0) },
    { op: "set", resource: fdb("192.0.2.2") },
  ];
  const results = await kernel.apply(steps);
  expect(results.map((error) => error?.errno)).toEqual([
    undefined,
    undefined,
    "ENETUNREACH",
    undefined,
    "EINVAL",
    "ENODEV",
    "EEXIST",
    "ENODEV",
    "EINVAL",
    undefined,
  ]);
  expect(results[2]?.message).toBe(
    "cannot set route 10.5.9.0/24 via 198.51.100.1 dev under0 proto 70: " +
      "ENETUNREACH (Nexthop has invalid gateway)",
  );
  expect(results[5]?.message).toContain("there is no device missing");
  expect(results[6]?.message).toContain("the device flannel.1 has VNI 1 on UDP port 8472");
});

test("refusals keep their places in a batch of thousands", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  const steps = manyNeighbours(5000);
  const bad = new Set([0, 199, 200, 201, 1999, 2000, 4999]);
  for (const position of bad) {
    steps[position] = {
      op: "set",
      resource: route(`10.200.${position & 255}.0/24`, { gateway: "198.51.100.1", link: "under0" }),
    };
  }
  const results = await kernel.apply(steps);
  expect(results.flatMap((error, position) => error ? [position] : [])).toEqual([...bad]);
  const neighbours = await kernel.dump(["neighbour"], new Set(["flannel.1"]));
  expect(neighbours.length).toBe(5000 - bad.size);
});

test("20 000 notifications arrive without loss while the changes are made", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  using watch = collect(kernel);
  const steps = manyNeighbours(20_000);
  expect((await kernel.apply(steps)).every((result) => result === undefined)).toBe(true);
  const wanted = new Set(steps.map(({ resource }) => Bun.inspect(resource)));
  let looked = 0;
  const isHeard = () => {
    for (const event of watch.events.slice(looked)) {
      looked++;
      if (event.kind === "changed" && !event.deleted) wanted.delete(Bun.inspect(event.resource));
    }
    return wanted.size === 0;
  };
  expect(await until(isHeard)).toBe(true);
  expect(watch.events.filter(({ kind }) => kind === "overrun")).toEqual([]);
});

test("a reader that is too slow gets an overrun, then further events", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  using small = new NetlinkKernel({ clock: systemClock, watchBufferBytes: 16 * 1024 });
  using watch = collect(small);
  await Bun.sleep(20);
  for (let round = 1; round <= 3; round++) {
    const before = watch.events.length;
    await kernel.apply(manyNeighbours(2000, `02:00:00:00:00:0${round}`));
    const isOverrun = () => watch.events.slice(before).some(({ kind }) => kind === "overrun");
    expect(await until(isOverrun)).toBe(true);
    const marker = address(`10.5.1.${round}`, 32);
    // There may still be no room for the first ones.
    await eventually("events come again", 30_000, async () => {
      await remove(kernel, marker);
      await set(kernel, marker);
      return watch.events.some((event) =>
        event.kind === "changed" && Bun.deepEquals(event.resource, marker)
      );
    });
  }
});

test("what changes after an overrun is reported, too, or is another overrun", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  using small = new NetlinkKernel({ clock: systemClock, watchBufferBytes: 16 * 1024 });
  const events: KernelEvent[] = [];
  let overruns = 0;
  using _watch = small.watch((event) => {
    events.push(event);
    // While the kernel still holds older notifications.
    if (event.kind === "overrun" && overruns++ === 0) {
      run("ip link add late0 type veth peer name late1");
    }
  });
  await Bun.sleep(20);
  await kernel.apply(manyNeighbours(2000));
  expect(await until(() => overruns > 0)).toBe(true);
  const isKnown = () =>
    overruns > 1 ||
    events.some((event) => event.kind === "changed" && deviceOf(event.resource) === "late0");
  expect(await until(isKnown, 5_000)).toBe(true);
});

test("two watches get the same events, and one continues without the other", async () => {
  const { kernel } = sandbox;
  using first = collect(kernel);
  const second = collect(kernel);
  run("ip link set under1 mtu 1400");
  const heardOf = (mtuBytes: number, { events }: { events: readonly KernelEvent[] }) =>
    events.some((event) => Bun.deepMatch({ resource: { name: "under1", mtuBytes } }, event));
  expect(await until(() => heardOf(1400, first) && heardOf(1400, second))).toBe(true);
  // The kernel may announce more, and one watch may get it a moment earlier.
  expect(await until(() => Bun.deepEquals(second.events, first.events))).toBe(true);
  second[Symbol.dispose]();
  second[Symbol.dispose]();
  const unheard = second.events.length;
  run("ip link set under1 mtu 1300");
  expect(await until(() => heardOf(1300, first))).toBe(true);
  expect(second.events.length).toBe(unheard);
});

test("nothing is reported after a watch is disposed, and every socket is closed", async () => {
  const { kernel } = sandbox;
  const sockets = () => run("cat /proc/net/netlink").split("\n").length; // of this namespace
  const before = sockets();
  for (let i = 0; i < 20; i++) {
    const watch = collect(kernel);
    if (i % 2 === 0) await Bun.sleep(1);
    watch[Symbol.dispose]();
    const seen = watch.events.length;
    run(`ip addr add 10.9.0.${i + 1}/32 dev under0`);
    await Bun.sleep(5);
    expect(watch.events.length).toBe(seen);
  }
  expect(sockets()).toBe(before);
});

test("a runtime that temporarily cannot read notifications leaves no descriptor open", () => {
  const notifications = JSON.stringify(join(SOURCE, "kernel/wire/notifications.ts"));
  const filter = JSON.stringify(join(import.meta.dir, "../support/refuse_polling.ts"));
  const script = `
    import { readdirSync } from "node:fs";
    import { Notifications } from ${notifications};
    import { systemClock } from ${CLOCK};
    import { refusePolling } from ${filter};
    let tries = 0;
    using notifications = new Notifications({
      clock: systemClock,
      protocol: 0,
      groups: [1],
      receiveBufferBytes: 65536,
      read: () => {},
      lost: () => void tries++,
    });
    await Bun.sleep(1);
    refusePolling();
    const before = readdirSync("/proc/self/fd").length;
    notifications.start();
    while (tries < 5) await Bun.sleep(10);
    console.log(readdirSync("/proc/self/fd").length - before);`;
  const { stdout, stderr } = Bun.spawnSync([process.execPath, "-e", script], { timeout: 50_000 });
  expect({ stdout: stdout.toString(), stderr: stderr.toString() })
    .toEqual({ stdout: "0\n", stderr: "" });
});

test("a renamed device is reported as one that is deleted and one that is added", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  using watch = collect(kernel);
  run("ip link set flannel.1 down");
  run("ip link set flannel.1 name other.1");
  run("ip link set other.1 up");
  run("ip addr add 10.5.1.0/32 dev other.1");
  const has = (expected: object) => watch.events.some((event) => Bun.deepMatch(expected, event));
  expect(await until(() => has({ resource: { kind: "address", link: "other.1" } }))).toBe(true);
  expect(has({ resource: { kind: "link", name: "flannel.1" }, deleted: true })).toBe(true);
  expect(has({ resource: { kind: "link", name: "other.1" }, deleted: false })).toBe(true);
});

test("the removal of a device is reported by name, and so are its entries", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  await kernel.apply([
    { op: "set", resource: address("10.5.1.0", 32) },
    { op: "set", resource: neighbour("10.5.2.0") },
    { op: "set", resource: fdb("192.0.2.2") },
    { op: "set", resource: route("fc00:5::2:0/112", { gateway: "fc00:5::2:0", onlink: true }) },
  ]);
  using watch = collect(kernel);
  run("ip link del flannel.1");
  const gone = (kind: string) =>
    watch.events.some((event) =>
      event.kind === "changed" && event.deleted && event.resource.kind === kind &&
      (event.resource.kind === "link" ? event.resource.name : "link" in event.resource &&
          event.resource.link) === "flannel.1"
    );
  expect(await until(() => gone("link"))).toBe(true);
  for (const kind of ["address", "neighbour", "fdb", "route"]) expect(gone(kind)).toBe(true);
});

test("a device that is deleted during a batch fails the steps after that, by name", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  const steps: Step[] = [...manyNeighbours(6000), {
    op: "set",
    resource: { ...neighbour("192.0.2.77"), link: "under0" },
  }];
  const pending = kernel.apply(steps);
  run("ip link del flannel.1");
  const results = await pending;
  expect(results.slice(0, 2000).every((result) => result === undefined)).toBe(true);
  expect(results.slice(2000, 6000).every((result) => result?.errno === "ENODEV")).toBe(true);
  expect(results[2000]?.message).toContain("there is no device flannel.1");
  expect(results[6000]).toBeUndefined();
  expect(await remove(kernel, neighbour("10.0.0.1"))).toBeUndefined();
});

test("a device that is recreated during a batch gets the rest of it", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  const pending = kernel.apply(manyNeighbours(6000));
  run("ip link del flannel.1");
  run("ip link add flannel.1 type vxlan id 1 dev under0 dstport 8472");
  run("ip link set flannel.1 up");
  expect((await pending).filter((result) => result !== undefined)).toEqual([]);
  expect((await kernel.dump(["neighbour"], new Set(["flannel.1"]))).length).toBe(4000);
});

/** What gives a name, and its old index, to other devices. */
const DEVICE_CHANGES: { readonly [what: string]: (ifindex: string) => readonly string[] } = {
  "deleted, and its index goes to a device of another name": (ifindex) => [
    "ip link del flannel.1",
    `ip link add other.1 index ${ifindex} type vxlan id 2 dev under0 dstport 8472`,
  ],
  "deleted and created again, and its index goes to another device": (ifindex) => [
    "ip link del flannel.1",
    `ip link add other.1 index ${ifindex} type vxlan id 2 dev under0 dstport 8472`,
    "ip link add flannel.1 type vxlan id 1 dev under0 dstport 8472",
    "ip link set flannel.1 up",
  ],
  "renamed, and its name goes to another device": () => [
    "ip link set flannel.1 down",
    "ip link set flannel.1 name other.1",
    "ip link add flannel.1 type vxlan id 2 dev under0 dstport 8472",
    "ip link set flannel.1 up",
  ],
  "in another namespace": () => [
    "ip netns add elsewhere",
    "ip link set flannel.1 netns elsewhere",
    "ip netns del elsewhere",
  ],
};

for (const [what, commandsFor] of Object.entries(DEVICE_CHANGES)) {
  for (const moment of ["before the notification is read", "after it was read"] as const) {
    test(`a device is ${what}: no other device gets its entries, ${moment}`, async () => {
      const { kernel } = sandbox;
      using watch = collect(kernel);
      await set(kernel, vxlan());
      const { ifindex } = await kernel.link("flannel.1") ?? {};
      // Twice, so that the index is known before.
      for (const subnet of ["10.5.2.0", "10.5.3.0"]) {
        expect(await set(kernel, neighbour(subnet))).toBeUndefined();
        const isAnnounced = () => watch.events.some((event) => announces(event, subnet));
        expect(await until(isAnnounced)).toBe(true);
      }
      const commands = commandsFor(`${ifindex}`);
      for (const command of commands) run(command);
      if (moment === "after it was read") {
        await until(() => watch.events.some((event) => announcesRemoval(event, "flannel.1")));
      }
      const results = await kernel.apply([
        { op: "set", resource: neighbour("10.5.4.0") },
        { op: "set", resource: fdb("192.0.2.4") },
        { op: "set", resource: route("10.5.4.0/24", { gateway: "10.5.4.0", onlink: true }) },
      ]);
      const exists = await kernel.link("flannel.1") !== undefined;
      expect(exists).toBe(commands.some((command) => command.startsWith("ip link add flannel.1")));
      const expected = exists ? undefined : "ENODEV";
      expect(results.map((error) => error?.errno)).toEqual([expected, expected, expected]);
      expect(run("ip neigh show nud permanent dev under0")).toBe("");
      if (run("ip -br link").includes("other.1")) {
        expect(run("ip neigh show nud permanent dev other.1")).not.toContain("10.5.4.0");
        expect(run("bridge fdb show dev other.1")).not.toContain("192.0.2.4");
        expect(run("ip route show dev other.1")).toBe("");
      }
    });
  }
}

test("a known index is not looked up again, and is after any change of a device", async () => {
  const { kernel } = sandbox;
  using watch = collect(kernel);
  await set(kernel, vxlan());
  const changed = async (subnet: string): Promise<void> => {
    await set(kernel, neighbour(subnet));
    expect(await until(() => watch.events.some((event) => announces(event, subnet)))).toBe(true);
  };
  await changed("10.5.2.0");
  await changed("10.5.3.0");
  const sent = spyOn(NetlinkSocket.prototype, "get");
  try {
    await changed("10.5.4.0");
    expect(sent).toHaveBeenCalledTimes(0);
    run("ip link set under0 alias changed");
    await changed("10.5.5.0");
    expect(sent).toHaveBeenCalledTimes(1);
  } finally {
    sent.mockRestore();
  }
});

test("a device that changes while there is no watch is looked up again", async () => {
  const { kernel } = sandbox;
  const first = collect(kernel);
  await set(kernel, vxlan());
  for (const subnet of ["10.5.2.0", "10.5.3.0"]) {
    await set(kernel, neighbour(subnet));
    expect(await until(() => first.events.some((event) => announces(event, subnet)))).toBe(true);
  }
  const { ifindex } = await kernel.link("flannel.1") ?? {};
  first[Symbol.dispose]();
  run("ip link del flannel.1");
  run(`ip link add other.1 index ${ifindex} type vxlan id 2 dev under0 dstport 8472`);
  using second = collect(kernel);
  run("ip addr add 10.9.0.1/32 dev under0");
  expect(await until(() => second.events.length > 0)).toBe(true);
  expect((await set(kernel, neighbour("10.5.4.0")))?.errno).toBe("ENODEV");
  expect(run("ip neigh show nud permanent dev other.1")).toBe("");
});

function announces(event: KernelEvent, subnet: string): boolean {
  return event.kind === "changed" && event.resource.kind === "neighbour" &&
    event.resource.address === subnet;
}

function announcesRemoval(event: KernelEvent, name: string): boolean {
  return event.kind === "changed" && event.deleted && event.resource.kind === "link" &&
    event.resource.name === name;
}

/**
 * The kernel replaces a route in one step, and announces no deletion. But a look-up that another
 * CPU has just started may find the old route released, and fail (fib_dead in net/ipv4/fib_trie.c,
 * ip6_create_rt_rcu in net/ipv6/route.c).
 */
const RACING_LOOKUPS = 0.05;

const REPLACEMENTS = [
  {
    what: "an IPv4 route that moves between overlay and underlay",
    first: route("10.5.2.0/24", { gateway: "10.5.2.0", onlink: true }),
    second: route("10.5.2.0/24", { gateway: "192.0.2.9", link: "under0" }),
  },
  {
    what: "an IPv6 route that changes its gateway",
    first: route("fc00:5::2:0/112", { gateway: "2001:db8::8", link: "under0" }),
    second: route("fc00:5::2:0/112", { gateway: "2001:db8::9", link: "under0" }),
  },
  {
    what: "an IPv6 route that moves between overlay and underlay",
    first: route("fc00:5::2:0/112", { gateway: "fc00:5::2:0", onlink: true }),
    second: route("fc00:5::2:0/112", { gateway: "2001:db8::9", link: "under0" }),
  },
];

for (const { what, first, second } of REPLACEMENTS) {
  test(`${what} exists while it is replaced`, async () => {
    const { kernel } = sandbox;
    await set(kernel, vxlan());
    await set(kernel, first, true);
    const [inside = ""] = first.destination.split("/");
    const script = join(import.meta.dir, "netlink_gap_probe.ts");
    const probe = Bun.spawn([process.execPath, script, inside], { stdin: "pipe", stdout: "pipe" });
    const output = probe.stdout.getReader();
    await output.read();
    const begun = performance.now();
    let replacements = 0;
    using watch = collect(kernel);
    while (performance.now() - begun < 700) {
      for (const resource of [second, first]) {
        expect(await set(kernel, resource)).toBeUndefined();
        replacements++;
      }
    }
    await probe.stdin.end();
    const { value } = await output.read();
    const { lookups, misses } = JSON.parse(new TextDecoder().decode(value));
    expect(replacements).toBeGreaterThan(100);
    expect(lookups).toBeGreaterThan(100);
    const isGone = (event: KernelEvent) =>
      event.kind === "changed" && event.deleted && event.resource.kind === "route" &&
      event.resource.destination === first.destination;
    expect(watch.events.filter(isGone)).toEqual([]);
    expect(misses / lookups).toBeLessThan(RACING_LOOKUPS);
  });
}

test("a dump has every stable entry although the table changes all the time", async () => {
  const { kernel } = sandbox;
  const standing = Array.from({ length: 1500 }, (_, i): Step => ({
    op: "set",
    resource: { ...address(`10.9.${i >> 8}.${i & 255}`, 32), link: "under0" },
  }));
  await kernel.apply(standing);
  const churn = Bun.spawn(["ip", "-batch", "-"], { stdin: new Blob([CHURN]), stdout: "ignore" });
  try {
    for (let i = 0; i < 60; i++) {
      const found = await kernel.dump(["address"], new Set(["under0"]));
      const kept = found.filter((entry) =>
        entry.kind === "address" && entry.address.startsWith("10.9.")
      );
      expect(kept.length).toBe(1500);
    }
  } finally {
    churn.kill("SIGKILL");
    await churn.exited;
  }
});

/** Adds and deletes addresses of the dumped device, for longer than the test runs. */
const CHURN = Array.from(
  { length: 100_000 },
  (_, i) => `addr ${i % 2 === 0 ? "add" : "del"} 10.8.0.1/32 dev under0\n`,
).join("");

test("CAP_NET_ADMIN alone is enough", async () => {
  const script = `
    import { systemClock } from ${CLOCK};
    import { NetlinkKernel } from ${JSON.stringify(join(SOURCE, "kernel/netlink_kernel.ts"))};
    using kernel = new NetlinkKernel({ clock: systemClock });
    const steps = JSON.parse(Bun.argv[1]);
    let changes = 0;
    using watch = kernel.watch(() => changes++);
    console.log(JSON.stringify((await kernel.apply(steps)).map((error) => error?.message ?? null)));
    for (let i = 0; i < 3_000 && changes === 0; i++) await Bun.sleep(10);
    console.log(changes > 0);`;
  const steps: Step[] = [
    { op: "set", resource: vxlan() },
    {
      op: "set",
      resource: { kind: "sysctl", path: "net/ipv6/conf/flannel.1/accept_ra", value: "0" },
    },
    { op: "set", resource: address("10.5.1.0", 32) },
    { op: "set", resource: neighbour("10.5.2.0") },
    { op: "set", resource: fdb("192.0.2.2") },
    { op: "set", resource: route("10.5.2.0/24", { gateway: "10.5.2.0", onlink: true }) },
  ];
  const { stdout, stderr } = Bun.spawnSync([
    ...["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all"],
    ...[process.execPath, "-e", script, "--", JSON.stringify(steps)],
  ]);
  expect(stderr.toString()).toBe("");
  expect(stdout.toString()).toBe(`${JSON.stringify(steps.map(() => null))}\ntrue\n`);
  expect(await sandbox.kernel.routeTo("10.5.2.9" as IpAddress)).toMatchObject({
    link: "flannel.1",
  });
});
