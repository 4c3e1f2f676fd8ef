import { expect, test } from "bun:test";
import { ipv6Enabled, networkRoute, nodeAddress } from "../../../src/overlay/node_entries.ts";
import { lease, prefix } from "../../support/sample_network.ts";
import { stateText } from "../../support/state_text.ts";

test("nodeAddress() is the subnet's first address alone, of the family that is asked for", () => {
  const both = lease(1, "vxlan", [4, 6]);
  expect(stateText(nodeAddress(both, "flannel.1", 4))).toBe("addr 10.5.1.0/32 dev flannel.1\n");
  expect(stateText(nodeAddress(both, "flannel-v6.1", 6))).toBe(
    "addr fc00:0:0:1::/128 dev flannel-v6.1\n",
  );
  expect(nodeAddress(lease(1, "vxlan", [6]), "flannel.1", 4)).toEqual([]);
});

test("ipv6Enabled() lets the kernel accept IPv6 addresses on the device", () => {
  expect(ipv6Enabled("flannel-v6.1")).toEqual({
    kind: "sysctl",
    path: "net/ipv6/conf/flannel-v6.1/disable_ipv6",
    value: "0",
  });
});

test("networkRoute() has the scope and the metric that the kernel gives in each family", () => {
  expect(networkRoute(prefix("10.5.0.0/16"), "wg0")).toMatchObject({ scope: "link", metric: 0 });
  expect(networkRoute(prefix("fc00::/48"), "wg0")).toMatchObject({
    scope: "universe",
    metric: 1024,
  });
});
