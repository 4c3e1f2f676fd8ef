import { expect, test } from "bun:test";
import { blackholeRoutes } from "../../../src/overlay/blackhole_routes.ts";
import { networkRoute } from "../../../src/overlay/node_entries.ts";
import { peerRoute } from "../../../src/overlay/peer_route.ts";
import { ip, lease, prefix } from "../../support/sample_network.ts";

/** What all of this program's routes are. */
const OURS = { kind: "route", protocol: 70, table: 254 } as const;

test("peerRoute() leads to a subnet by its gateway, with the metric that the kernel gives", () => {
  const route = {
    subnet: prefix("10.5.2.0/24"),
    gateway: ip("192.168.0.2"),
    link: "eth0",
    onlink: false,
  };
  const ipv4 = {
    ...OURS,
    type: "unicast",
    destination: route.subnet,
    link: "eth0",
    gateway: route.gateway,
    onlink: false,
    scope: "universe",
    metric: 0,
  } as const;
  expect(peerRoute(route)).toEqual(ipv4);
  expect(peerRoute({ ...route, onlink: true })).toEqual({ ...ipv4, onlink: true });
  const subnet = prefix("fc00:0:0:2::/64");
  expect(peerRoute({ ...route, subnet })).toMatchObject({ destination: subnet, metric: 1024 });
});

test("networkRoute() leads to the whole network by a device, without a gateway", () => {
  expect(networkRoute(prefix("10.5.0.0/16"), "flannel0")).toEqual({
    ...OURS,
    type: "unicast",
    destination: prefix("10.5.0.0/16"),
    link: "flannel0",
    onlink: false,
    scope: "link",
    metric: 0,
  });
});

test("blackholeRoutes() end at each of this node's subnets, after every other route", () => {
  expect(blackholeRoutes(lease(1, "vxlan", [4]))).toEqual([{
    ...OURS,
    type: "blackhole",
    destination: prefix("10.5.1.0/24"),
    onlink: false,
    scope: "universe",
    metric: 2147483647,
  }]);
});
