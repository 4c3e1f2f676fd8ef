import { expect, test } from "bun:test";
import { type Link, NO_MAC, type Resource, type Route } from "../../../src/state/resource.ts";
import { linkOf, resourceKey } from "../../../src/state/resource_key.ts";
import { endpointText, resourceText } from "../../../src/state/resource_text.ts";
import { tunnelRoute, tunnelRouteV6, vxlanDevice } from "../../support/arbitrary_state.ts";
import { ETH0, ip, mac, prefix } from "../../support/sample_network.ts";
import { stateText } from "../../support/state_text.ts";

const BLACKHOLE: Resource = {
  kind: "route",
  type: "blackhole",
  destination: prefix("fc00:0:0:1::/64"),
  link: "lo",
  onlink: false,
  scope: "universe",
  metric: 2147483647,
  protocol: 70,
  table: 254,
};

test("resourceText() shows a blackhole without the device that the kernel adds for IPv6", () => {
  expect(resourceText(BLACKHOLE)).toBe(
    "route blackhole fc00:0:0:1::/64 proto 70 metric 2147483647",
  );
  expect(linkOf(BLACKHOLE)).toBeUndefined();
});

test("resourceText() shows the unusual fields of a route and leaves out the usual ones", () => {
  expect(resourceText({
    kind: "route",
    type: "unicast",
    destination: prefix("10.5.2.0/24"),
    link: "eth1",
    source: ip("192.168.0.1"),
    onlink: false,
    scope: "link",
    metric: 7,
    protocol: 3,
    table: 100,
    multipath: true,
  })).toBe(
    "route 10.5.2.0/24 dev eth1 multipath proto 3 scope link src 192.168.0.1 metric 7 table 100",
  );
});

test("resourceText() shows a device of another type with its kind, and hardware without", () => {
  expect(resourceText({ ...ETH0, up: false })).toBe(
    "link eth0: mtu 1500 state down address 02:00:00:00:00:ee",
  );
  expect(resourceText({ ...ETH0, linkKind: "bridge" })).toBe(
    "link eth0: mtu 1500 state up address 02:00:00:00:00:ee type bridge",
  );
});

test("resourceText() shows the attributes of a device by its type", () => {
  const tunnel = { kind: "link", name: "t0", mtuBytes: 1420, mac: NO_MAC, up: true } as const;
  const base = "link t0: mtu 1420 state up";
  const texts = ([
    { ...tunnel, type: "wireguard", implementation: "kernel" },
    { ...tunnel, type: "wireguard", implementation: "userspace" },
    { ...tunnel, type: "ipip", local: ip("192.168.0.1") },
    { ...vxlanDevice("flannel.1"), learning: true, gbp: true },
  ] as Link[]).map(resourceText);
  expect(texts).toEqual([
    `${base} type wireguard`,
    `${base} type wireguard (user space)`,
    `${base} type ipip local 192.168.0.1`,
    "link flannel.1: mtu 1450 state up address 02:00:00:00:00:01 type vxlan id 1 " +
    "local 192.168.0.1 dev eth0 dstport 8472 learning gbp",
  ]);
});

test("resourceText() leaves out the metric that the kernel gives each address family", () => {
  const metricOf = (route: Route) => /metric (\d+)/.exec(resourceText(route))?.[1];
  expect(metricOf(tunnelRoute(2))).toBeUndefined();
  expect(metricOf(tunnelRouteV6(2))).toBeUndefined();
  expect(metricOf({ ...tunnelRoute(2), metric: 1024 })).toBe("1024");
  expect(metricOf({ ...tunnelRouteV6(2), metric: 7 })).toBe("7");
});

test("endpointText() puts an IPv6 address into brackets", () => {
  expect(endpointText({ address: ip("192.0.2.1"), port: 51820 })).toBe("192.0.2.1:51820");
  expect(endpointText({ address: ip("2001:db8::1"), port: 1 })).toBe("[2001:db8::1]:1");
});

test("resourceText() shows a peer without an endpoint, and a policy without a tunnel", () => {
  expect(resourceText({
    kind: "wireguard-peer",
    link: "flannel-wg",
    publicKey: "P" as never,
    keepaliveSeconds: 0,
    allowedIps: [],
  })).toBe("wireguard flannel-wg peer P allowed-ips (none)");
  expect(resourceText({
    kind: "xfrm-policy",
    direction: "fwd",
    source: prefix("10.5.1.0/24"),
    destination: prefix("10.5.2.0/24"),
  })).toBe("xfrm policy src 10.5.1.0/24 dst 10.5.2.0/24 dir fwd");
});

test("resourceText() shows a route that has no device", () => {
  const { link: _, ...rest } = BLACKHOLE as typeof BLACKHOLE & { kind: "route" };
  expect(resourceText({ ...rest, type: "unicast" } as Resource)).toBe(
    "route fc00:0:0:1::/64 proto 70 metric 2147483647",
  );
});

test("stateText() sorts by the order of creation, then by text", () => {
  expect(stateText([
    { kind: "fdb", link: "flannel.1", mac: mac(2), remote: ip("192.168.0.2") },
    { kind: "address", link: "flannel.1", address: ip("10.5.1.0"), prefixLength: 32 },
    { kind: "neighbour", link: "flannel.1", address: ip("10.5.2.0"), mac: mac(2) },
    { kind: "sysctl", path: "net/ipv6/conf/flannel-v6.1/accept_ra", value: "0" },
    ETH0,
  ])).toBe(`\
link eth0: mtu 1500 state up address 02:00:00:00:00:ee
sysctl net/ipv6/conf/flannel-v6.1/accept_ra = 0
addr 10.5.1.0/32 dev flannel.1
fdb 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.2 self permanent
neigh 10.5.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent
`);
});

test("linkOf() finds the device in the path of a sysctl, also one with a dot in its name", () => {
  const path = "net/ipv6/conf/flannel-v6.1/accept_ra";
  expect(linkOf({ kind: "sysctl", path, value: "0" })).toBe("flannel-v6.1");
  expect(linkOf({ kind: "sysctl", path: "net/ipv4/ip_forward", value: "1" })).toBeUndefined();
});

test("resourceKey() is the same for two forwarding entries of one MAC on one device", () => {
  const entry = (remote: string): Resource => ({
    kind: "fdb",
    link: "flannel.1",
    mac: mac(2),
    remote: ip(remote),
  });
  expect(resourceKey(entry("192.168.0.2"))).toBe(resourceKey(entry("192.168.0.3")));
});
