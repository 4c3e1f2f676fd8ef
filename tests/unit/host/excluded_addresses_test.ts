import { expect, test } from "bun:test";
import { ExcludedAddresses } from "../../../src/host/excluded_addresses.ts";
import type { HostDependencies } from "../../../src/host/host_dependencies.ts";
import { type Route, RTPROT_FLANNEL } from "../../../src/state/resource.ts";
import { external, ip, NETWORKS, prefix } from "../../support/sample_network.ts";
import { BACKENDS } from "../../../src/backend/backend_registry.ts";

const isOverlayDevice = (name: string) => BACKENDS.isDeviceName(name);

const EXTERNAL = external([4]);

function needs(
  dependencies: Partial<HostDependencies>,
): { host: ExcludedAddresses; now: HostDependencies } {
  const now = { gateways: [], resolvers: [], endpoints: [], ...dependencies };
  const host = new ExcludedAddresses({
    families: NETWORKS,
    read: () => Promise.resolve({ ...now }),
    ownSubnets: [],
    isOverlayDevice,
  });
  return { host, now };
}

function route(more: Partial<Route>): Route {
  return {
    kind: "route",
    type: "unicast",
    destination: prefix("10.5.7.0/24"),
    link: "eth0",
    onlink: false,
    scope: "universe",
    metric: 0,
    protocol: 4,
    table: 254,
    ...more,
  };
}

test("excluded addresses are read again, and reported only if they have changed", async () => {
  const gateway = { address: ip("10.5.7.1"), what: "the gateway of this host" };
  const { host, now } = needs({ gateways: [gateway] });
  expect(await host.read(EXTERNAL)).toBe(true);
  expect(host.addresses).toEqual([gateway]);
  expect(await host.read(EXTERNAL)).toBe(false);
  Object.assign(now, { gateways: [] });
  expect(await host.read(EXTERNAL)).toBe(true);
  expect(host.addresses).toEqual([]);
});

test("a name server in this node's own subnet is allowed", async () => {
  const { host } = needs({ resolvers: [{ address: ip("10.5.7.53"), what: "a name server" }] });
  await host.read(EXTERNAL);
  expect(host.addresses).toHaveLength(1);
  expect(host.warnings([])).toHaveLength(1);
  host.addOwnSubnets([prefix("10.5.7.0/24")], EXTERNAL);
  expect(host.addresses).toEqual([]);
  expect(host.warnings([])).toEqual([]);
});

test("a route of the overlay itself does not reach the store", async () => {
  const { host } = needs({ endpoints: [{ address: ip("10.5.7.9"), what: "the store" }] });
  await host.read(EXTERNAL);
  expect(host.routeProblem([], [route({})])).toBeUndefined();
  expect(host.routeProblem([], [route({ protocol: RTPROT_FLANNEL })])).toContain("10.5.7.9");
  expect(host.routeProblem([], [route({ link: "flannel.1" })])).toContain("10.5.7.9");
});
