import { expect, test } from "bun:test";
import { HostNeeds } from "../../../src/daemon/host_needs.ts";
import type { Surroundings } from "../../../src/iface/surroundings.ts";
import { type Route, RTPROT_FLANNEL } from "../../../src/state/resource.ts";
import { external, ip, NETWORKS, prefix } from "../../support/sample_network.ts";

const EXTERNAL = external([4]);

function needs(surroundings: Partial<Surroundings>): { host: HostNeeds; now: Surroundings } {
  const now = { gateways: [], resolvers: [], endpoints: [], ...surroundings };
  const host = new HostNeeds({
    families: NETWORKS,
    read: () => Promise.resolve({ ...now }),
    ownSubnets: [],
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

test("what is needed is read again, and is another only where it changed", async () => {
  const gateway = { address: ip("10.5.7.1"), what: "the gateway of this host" };
  const { host, now } = needs({ gateways: [gateway] });
  expect(await host.read(EXTERNAL)).toBe(true);
  expect(host.needed).toEqual([gateway]);
  expect(await host.read(EXTERNAL)).toBe(false);
  Object.assign(now, { gateways: [] });
  expect(await host.read(EXTERNAL)).toBe(true);
  expect(host.needed).toEqual([]);
});

test("a name server in a subnet that this node has got is its own affair", async () => {
  const { host } = needs({ resolvers: [{ address: ip("10.5.7.53"), what: "a name server" }] });
  await host.read(EXTERNAL);
  expect(host.needed).toHaveLength(1);
  expect(host.warnings([])).toHaveLength(1);
  host.own([prefix("10.5.7.0/24")], EXTERNAL);
  expect(host.needed).toEqual([]);
  expect(host.warnings([])).toEqual([]);
});

test("a route of the overlay itself does not keep the way to the store open", async () => {
  const { host } = needs({ endpoints: [{ address: ip("10.5.7.9"), what: "the store" }] });
  await host.read(EXTERNAL);
  expect(host.routeProblem([], [route({})])).toBeUndefined();
  expect(host.routeProblem([], [route({ protocol: RTPROT_FLANNEL })])).toContain("10.5.7.9");
  expect(host.routeProblem([], [route({ link: "flannel.1" })])).toContain("10.5.7.9");
});
