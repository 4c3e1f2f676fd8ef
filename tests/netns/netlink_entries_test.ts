/** Every kind of entry in the real kernel: created, read back, announced, removed. */

import { afterEach, beforeEach, expect, test } from "bun:test";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { MacAddress } from "../../src/addr/mac.ts";
import { readSysctl } from "../../src/kernel/sysctl/proc_sys.ts";
import { resourceKey } from "../../src/state/resource_key.ts";
import { resourceText } from "../../src/state/resource_text.ts";
import type { Resource } from "../../src/state/resource.ts";
import {
  address,
  blackhole,
  collect,
  fdb,
  find,
  neighbour,
  remove,
  route,
  run,
  runJson,
  Sandbox,
  set,
  until,
  vxlan,
} from "./netlink_support.ts";

let sandbox: Sandbox;
beforeEach(() => void (sandbox = new Sandbox()));
afterEach(() => sandbox[Symbol.dispose]());

interface RoundTrip {
  readonly resource: Resource;
  /** A command of iproute2, and what its JSON output contains while the entry exists. */
  readonly show: string;
  readonly expected: Record<string, unknown>;
}

const v6Local = { local: "2001:db8::1" as IpAddress, mtuBytes: 1430 };

const ROUND_TRIPS: readonly RoundTrip[] = [
  {
    resource: vxlan({ name: "vx4", vni: 7, port: 4789, gbp: true }),
    show: "ip -j -d link show dev vx4",
    expected: {
      mtu: 1450,
      address: "c6:d2:32:6f:8f:44",
      linkinfo: {
        info_kind: "vxlan",
        info_data: { id: 7, local: "192.0.2.1", link: "under0", port: 4789, learning: false },
      },
    },
  },
  {
    resource: vxlan({ name: "vx6", vni: 8, up: false, learning: true, ...v6Local }),
    show: "ip -j -d link show dev vx6",
    expected: {
      mtu: 1430,
      operstate: "DOWN",
      linkinfo: { info_data: { id: 8, local6: "2001:db8::1", port: 8472, learning: true } },
    },
  },
  {
    resource: address("10.5.1.0", 32),
    show: "ip -j addr show dev flannel.1 to 10.5.1.0",
    expected: { addr_info: [{ local: "10.5.1.0", prefixlen: 32, scope: "global" }] },
  },
  {
    resource: address("fc00:5::1:0", 128),
    show: "ip -j addr show dev flannel.1 to fc00:5::1:0",
    expected: { addr_info: [{ local: "fc00:5::1:0", prefixlen: 128, nodad: true }] },
  },
  {
    resource: neighbour("10.5.2.0"),
    show: "ip -j neigh show to 10.5.2.0 nud permanent",
    expected: { dst: "10.5.2.0", dev: "flannel.1", lladdr: "02:00:00:00:00:02" },
  },
  {
    resource: neighbour("fc00:5::2:0"),
    show: "ip -j neigh show to fc00:5::2:0 nud permanent",
    expected: { dst: "fc00:5::2:0", dev: "flannel.1", lladdr: "02:00:00:00:00:02" },
  },
  {
    resource: fdb("192.0.2.2"),
    show: "bridge -j fdb show dev flannel.1",
    expected: { mac: "02:00:00:00:00:02", dst: "192.0.2.2", flags: ["self"], state: "permanent" },
  },
  {
    resource: route("10.5.2.0/24", { gateway: "10.5.2.0", onlink: true }),
    show: "ip -j route show 10.5.2.0/24",
    expected: { gateway: "10.5.2.0", dev: "flannel.1", protocol: "70", flags: ["onlink"] },
  },
  {
    resource: route("fc00:5::2:0/112", { gateway: "fc00:5::2:0", onlink: true }),
    show: "ip -j -6 route show fc00:5::2:0/112",
    expected: { gateway: "fc00:5::2:0", dev: "flannel.1", protocol: "70", metric: 1024 },
  },
  {
    resource: route("10.5.3.0/24", { gateway: "192.0.2.3", link: "under0", source: "192.0.2.1" }),
    show: "ip -j route show 10.5.3.0/24",
    expected: { gateway: "192.0.2.3", dev: "under0", prefsrc: "192.0.2.1", flags: [] },
  },
  {
    resource: route("fc00:5::3:0/112", { gateway: "2001:db8::3", link: "under0", metric: 77 }),
    show: "ip -j -6 route show fc00:5::3:0/112",
    expected: { gateway: "2001:db8::3", dev: "under0", metric: 77 },
  },
  {
    resource: route("10.6.0.0/16", { scope: "link", metric: 5 }),
    show: "ip -j route show 10.6.0.0/16",
    expected: { dev: "flannel.1", scope: "link", metric: 5 },
  },
  {
    resource: route("0.0.0.0/0", { scope: "link", metric: 900 }),
    show: "ip -j route show default",
    expected: { dst: "default", dev: "flannel.1", metric: 900 },
  },
  {
    resource: blackhole("10.5.1.0/24"),
    show: "ip -j route show 10.5.1.0/24",
    expected: { type: "blackhole", protocol: "70" },
  },
  {
    resource: blackhole("fc00:5::1:0/112"),
    show: "ip -j -6 route show fc00:5::1:0/112",
    expected: { type: "blackhole", protocol: "70" },
  },
];

for (const { resource, show, expected } of ROUND_TRIPS) {
  test(`"${resourceText(resource)}" is created, read back, announced and removed`, async () => {
    const { kernel } = sandbox;
    expect(await set(kernel, vxlan())).toBeUndefined();
    using watch = collect(kernel);
    const key = resourceKey(resource);
    const last = () => {
      const events = watch.events.filter((event) =>
        event.kind === "changed" && resourceKey(event.resource) === key
      );
      return events.at(-1);
    };

    expect(await set(kernel, resource)).toBeUndefined();
    expect(await find(kernel, resource)).toEqual(resource);
    expect(runJson(show).filter((entry) => Object.keys(entry).length > 0))
      .toContainEqual(expect.objectContaining(containing(expected)));
    expect(await until(() => Bun.deepEquals(last(), { kind: "changed", resource, deleted: false })))
      .toBe(true);

    expect(await remove(kernel, resource)).toBeUndefined();
    expect(await find(kernel, resource)).toBeUndefined();
    expect(await until(() => last()?.kind === "changed" && isDeletion(last()))).toBe(true);
    expect(await remove(kernel, resource)).toBeUndefined();
  });
}

function isDeletion(event: unknown): boolean {
  return (event as { deleted?: boolean } | undefined)?.deleted === true;
}

/** Nested matchers, which ignore what else iproute2 prints. */
function containing(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      if (Array.isArray(inner) && inner.some((item) => typeof item === "object")) {
        const items = inner.map((item) => expect.objectContaining(containing(item)));
        return [key, expect.arrayContaining(items)];
      }
      const isObject = typeof inner === "object" && inner !== null && !Array.isArray(inner);
      return [
        key,
        isObject ? expect.objectContaining(containing(inner as Record<string, unknown>)) : inner,
      ];
    }),
  );
}

test("a vxlan device without a port gets the kernel's default, 8472", async () => {
  expect(await set(sandbox.kernel, vxlan({ port: 0 }))).toBeUndefined();
  expect(await find(sandbox.kernel, vxlan())).toEqual(vxlan({ port: 8472 }));
});

test("a device is changed in place: MTU, MAC, state, and nothing else", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  const before = await kernel.link("flannel.1");
  const mac = "c6:d2:32:6f:8f:45" as MacAddress;
  let from = vxlan();
  for (const changes of [{ mtuBytes: 1400 }, { mac }, { up: false }, { up: true }]) {
    const resource = { ...from, ...changes };
    expect(await kernel.apply([{ op: "change", resource, from }])).toEqual([undefined]);
    expect(await kernel.link("flannel.1")).toEqual({
      ifindex: before?.ifindex as number,
      link: resource,
    });
    from = resource;
  }
});

test("a device that exists is not created again", async () => {
  await set(sandbox.kernel, vxlan());
  expect((await set(sandbox.kernel, vxlan()))?.errno).toBe("EEXIST");
});

test("link() finds devices of every type, and is undefined for an absent one", async () => {
  const { kernel } = sandbox;
  run("ip link add br0 type bridge");
  expect((await kernel.link("br0"))?.link).toMatchObject({ type: "other", linkKind: "bridge" });
  expect((await kernel.link("under0"))?.link).toMatchObject({ linkKind: "veth", up: true });
  expect((await kernel.link("lo"))?.link).toMatchObject({ linkKind: "", mtuBytes: 65536 });
  expect(await kernel.link("missing")).toBeUndefined();
  expect(await kernel.link("a-name-that-no-device-has")).toBeUndefined();
  expect(await kernel.link("")).toBeUndefined();
});

test("an entry that is set again replaces the one with its key", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  const versions: Resource[][] = [
    [neighbour("10.5.2.0"), neighbour("10.5.2.0", "02:00:00:00:00:03")],
    [fdb("192.0.2.2"), fdb("192.0.2.3")],
    [address("10.5.1.0", 32), address("10.5.1.0", 32)],
    [blackhole("10.5.2.0/24"), route("10.5.2.0/24", { gateway: "10.5.2.0", onlink: true })],
    [
      route("fc00:5::2:0/112", { gateway: "fc00:5::2:0", onlink: true }),
      route("fc00:5::2:0/112", { gateway: "2001:db8::9", link: "under0" }),
    ],
    [
      route("fc00:5::6:0/112", { gateway: "2001:db8::9", link: "under0" }),
      route("fc00:5::6:0/112", { gateway: "fc00:5::6:0", onlink: true }),
    ],
    [
      route("10.5.6.0/24", { gateway: "192.0.2.9", link: "under0" }),
      route("10.5.6.0/24", { gateway: "10.5.6.0", onlink: true }),
    ],
    [
      route("fc00:5::3:0/112"),
      route("fc00:5::3:0/112", { gateway: "2001:db8::9", link: "under0" }),
    ],
    [
      route("fc00:5::4:0/112", { gateway: "2001:db8::9", link: "under0" }),
      route("fc00:5::4:0/112"),
    ],
    [
      blackhole("fc00:5::5:0/112"),
      route("fc00:5::5:0/112", { gateway: "fc00:5::5:0", onlink: true }),
    ],
  ];
  for (const [first, second] of versions as [Resource, Resource][]) {
    expect(await set(kernel, first)).toBeUndefined();
    expect(await set(kernel, second)).toBeUndefined();
    const key = resourceKey(first);
    const found = (await kernel.dump([first.kind])).filter((other) => resourceKey(other) === key);
    expect(found).toEqual([second]);
  }
});

test("an exclusive route leaves another program's alone and reports EEXIST", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  run("ip route add 10.5.2.0/24 via 192.0.2.9");
  run("ip -6 route add fc00:5::2:0/112 via 2001:db8::9");
  for (
    const ours of [
      route("10.5.2.0/24", { gateway: "10.5.2.0", onlink: true }),
      route("fc00:5::2:0/112", { gateway: "2001:db8::3", link: "under0" }),
      route("fc00:5::2:0/112"),
    ]
  ) {
    const before = await find(kernel, ours);
    expect((await set(kernel, ours, true))?.errno).toBe("EEXIST");
    expect(
      (await kernel.dump(["route"])).filter((found) => resourceKey(found) === resourceKey(ours)),
    )
      .toEqual([before as Resource]);
  }
});

test("deleting a route of ours leaves another one with the same destination", async () => {
  const { kernel } = sandbox;
  await set(kernel, vxlan());
  run("ip route add 10.5.2.0/24 via 192.0.2.9");
  run("ip -6 route add fc00:5::2:0/112 via 2001:db8::9");
  for (const destination of ["10.5.2.0/24", "fc00:5::2:0/112"]) {
    const [gateway = ""] = destination.split("/");
    const ours = route(destination, { gateway, onlink: true });
    expect(await remove(kernel, ours)).toBeUndefined();
    expect(await find(kernel, ours)).toMatchObject({ link: "under0" });
  }
});

test("routes of kinds that this program never makes are read correctly, or left out", async () => {
  const { kernel } = sandbox;
  run("ip route add 10.7.0.0/24 nexthop via 192.0.2.7 nexthop via 192.0.2.8");
  run("ip -6 route add fc00:7::/64 nexthop via 2001:db8::7 nexthop via 2001:db8::8");
  run("ip route add 10.8.0.0/24 via inet6 2001:db8::8 dev under0");
  run("ip route add unreachable 10.9.0.0/24");
  run("ip route add 10.9.1.0/24 via 192.0.2.7 tos 0x10");
  run("ip route add 10.9.2.0/24 via 192.0.2.7 table 100");
  const texts = (await kernel.dump(["route"])).map(resourceText);
  expect(texts).toContain("route 10.7.0.0/24 via 192.0.2.7 dev under0 multipath proto 3");
  expect(texts).toContain("route fc00:7::/64 via 2001:db8::7 dev under0 multipath proto 3");
  expect(texts).toContain("route 10.8.0.0/24 via 2001:db8::8 dev under0 proto 3");
  expect(texts.filter((text) => text.includes(" 10.9."))).toEqual([]);
});

test("a dump limited to devices contains only their entries", async () => {
  const { kernel } = sandbox;
  const names = Array.from({ length: 12 }, (_, i) => `flannel.${i + 1}`);
  for (const [i, name] of names.entries()) {
    await set(kernel, vxlan({ name, vni: i + 1 }));
    await set(kernel, { ...address(`10.5.${i}.0`, 32), link: name });
    await set(kernel, { ...neighbour("10.5.200.0"), link: name });
    await set(kernel, { ...fdb("192.0.2.2"), link: name });
  }
  for (const links of [new Set(["flannel.3"]), new Set(names.slice(2)), new Set(["none"])]) {
    const found = await kernel.dump(["address", "neighbour", "fdb"], links);
    const expected = [...links].filter((name) => name !== "none");
    for (const kind of ["address", "neighbour", "fdb"]) {
      const devices = found.flatMap((entry) => {
        const isLinkLocal = entry.kind === "address" && entry.address.startsWith("fe80");
        return entry.kind === kind && "link" in entry && !isLinkLocal ? [entry.link] : [];
      });
      expect(devices.sort()).toEqual(expected.sort());
    }
  }
});

test("entries that are not permanent are not read", async () => {
  const { kernel } = sandbox;
  run("ip neigh add 192.0.2.5 lladdr 02:00:00:00:00:05 dev under0 nud reachable");
  run("ip neigh add 192.0.2.6 lladdr 02:00:00:00:00:06 dev under0 nud permanent");
  const found = await kernel.dump(["neighbour"]);
  expect(found).toEqual([{
    kind: "neighbour",
    link: "under0",
    address: "192.0.2.6" as IpAddress,
    mac: "02:00:00:00:00:06" as MacAddress,
  }]);
});

test("routeTo() finds gateway, device, source, local and unreachable addresses", async () => {
  const { kernel } = sandbox;
  run("ip route add 10.7.0.0/24 via 192.0.2.7");
  run("ip route add blackhole 10.8.0.0/24");
  run("ip -6 route add fc00:7::/64 via 2001:db8::7");
  run("ip -6 route add blackhole fc00:8::/64");
  const lookup = (text: string) => kernel.routeTo(text as IpAddress);
  // The kernel adds the local route of an IPv6 address from a work queue (net/ipv6/addrconf.c).
  expect(await until(() => run("ip -6 route show table local").includes("2001:db8::1"))).toBe(true);
  const ifindex = (await kernel.link("under0"))?.ifindex as number;
  expect(await lookup("10.7.0.1")).toEqual({
    link: "under0",
    ifindex,
    gateway: "192.0.2.7" as IpAddress,
    source: "192.0.2.1" as IpAddress,
    local: false,
  });
  expect(await lookup("192.0.2.44")).toEqual({
    link: "under0",
    ifindex,
    source: "192.0.2.1" as IpAddress,
    local: false,
  });
  expect(await lookup("fc00:7::1")).toMatchObject({ link: "under0", gateway: "2001:db8::7" });
  expect(await lookup("192.0.2.1")).toMatchObject({ local: true });
  expect(await lookup("2001:db8::1")).toMatchObject({ local: true });
  for (const text of ["10.8.0.1", "203.0.113.1", "fc00:8::1", "fc00:9::1"]) {
    expect(await lookup(text)).toEqual({ local: false });
  }
});

test("a sysctl is written and read; a missing one is an error that names it", async () => {
  const { kernel } = sandbox;
  const path = "net/ipv6/conf/under0/accept_ra";
  expect(await set(kernel, { kind: "sysctl", path, value: "0" })).toBeUndefined();
  expect(await readSysctl(path)).toBe("0");
  expect(await readSysctl("net/ipv6/conf/missing/accept_ra")).toBeUndefined();
  const missing = await set(kernel, { kind: "sysctl", path: "net/none", value: "1" });
  expect(missing?.errno).toBe("ENOENT");
  expect(missing?.message).toContain("net/none");
});

test("a sysctl below a read-only /proc/sys is success if it has the value already", async () => {
  const { kernel } = sandbox;
  const path = "net/ipv6/conf/under0/disable_ipv6";
  run("mount --bind /proc/sys /proc/sys");
  run("mount -o remount,ro,bind /proc/sys");
  try {
    expect(await set(kernel, { kind: "sysctl", path, value: "0" })).toBeUndefined();
    const refusal = await set(kernel, { kind: "sysctl", path, value: "1" });
    expect(refusal?.reason).toBe(
      'EROFS (on the host, run "sysctl -w net.ipv6.conf.default.disable_ipv6=1" for new devices, ' +
        'and "sysctl -w net.ipv6.conf.under0.disable_ipv6=1")',
    );
  } finally {
    run("umount /proc/sys");
  }
});
