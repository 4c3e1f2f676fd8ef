import { expect, test } from "bun:test";
import { BLACKHOLE_METRIC, blackholeRoutes } from "../../../src/overlay/blackhole_routes.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";
import { isOurs } from "../../../src/state/ownership.ts";
import { FakeKernel } from "../../support/fake_kernel.ts";
import { backendHost, config, external, HOST, lease } from "../../support/sample_network.ts";
import { stateText } from "../../support/state_text.ts";

const DUAL = [4, 6] as const;
const ROUTES = blackholeRoutes(lease(1, "host-gw", DUAL));

test("blackhole routes cover the node's subnets, behind every other route", () => {
  expect(stateText(ROUTES)).toBe(`\
route blackhole 10.5.1.0/24 proto 70 metric 2147483647
route blackhole fc00:0:0:1::/64 proto 70 metric 2147483647
`);
  expect(BLACKHOLE_METRIC).toBeLessThan(2 ** 32);
});

test.each(["alloc", "extension", "host-gw", "vxlan"])("are ours with %s", async (type) => {
  const kernel = new FakeKernel();
  kernel.seed(...HOST);
  const network = config(type, DUAL);
  const { prepare } = await BACKENDS.forNetwork(network).load();
  const backend = await prepare(backendHost(kernel, network));
  const ownership = backend.ownership(external(DUAL));
  expect(ROUTES.map((route) => isOurs(route, ownership))).toEqual([true, true]);
});
