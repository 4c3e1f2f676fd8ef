/** Sixty nodes: all daemons start at once, and reconnect at once when the API server restarts. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import type { AuditedCall } from "../support/kube/audit_log.ts";
import { KubeCluster, networkConfig } from "../support/kube/kube_cluster.ts";
import type { KubeHost } from "../support/kube/kube_host.ts";
import { eventually } from "../support/wait.ts";

/** A daemon takes some 50 MB. */
const NODES = 60;
/** Fewer reads than this are repeated, out of as many as there are nodes. */
const REPEATED = 4;

let cluster: KubeCluster;

beforeAll(async () => {
  cluster = await KubeCluster.create({ hosts: NODES });
  await cluster.createNodes();
  cluster.configure(networkConfig([4], { Type: "vxlan" }));
}, 240_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 120_000);

test("daemons that start at once: each has routes to all others, with few calls", async () => {
  for (const host of cluster.hosts) host.start();
  // One after the other: the checks would take the processors from the daemons.
  for (const host of cluster.hosts) await host.ready(180_000);
  for (const host of cluster.hosts) await expectRoutes(host, cluster.hosts.map(({ name }) => name));
  const calls = cluster.plane.calls();
  expect(calls.filter(({ status }) => status !== 200)).toEqual([]);
  // A read is repeated if the server closes its connection meanwhile.
  expect(numberOf(calls, "list")).toBeWithin(NODES, NODES + REPEATED);
  // What a start has read is used for five seconds; on a busy machine, some take longer.
  expect(numberOf(calls, "get")).toBeWithin(NODES, 2 * NODES);
  // The annotations, and the condition.
  expect(numberOf(calls, "patch")).toBe(2 * NODES);
  expectFewWatches(calls);
}, 300_000);

test("an API server that restarts gets at most one list from each", async () => {
  const { plane, admin } = cluster;
  const before = plane.calls().length;
  await plane.killApiServer();
  await plane.startApiServer();
  await plane.ready();
  await admin.createNode({ name: "h61", podCidrs: ["10.244.61.0/24"] });
  await admin.annotateFlannel("h61", {
    "backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:61"}',
    "backend-type": "vxlan",
    "kube-subnet-manager": "true",
    "public-ip": "192.0.2.161",
  });
  const names = [...cluster.hosts.map(({ name }) => name), "h61"];
  for (const host of cluster.hosts) await expectRoutes(host, names);
  const calls = plane.calls().slice(before);
  expect(numberOf(calls, "list")).toBeLessThanOrEqual(NODES);
  expect(numberOf(calls, "patch")).toBe(0);
  expectFewWatches(calls);
}, 180_000);

/** Waits until a host has a route to each of these nodes but itself, and no other. */
async function expectRoutes(host: KubeHost, names: readonly string[]): Promise<void> {
  const wanted = names.filter((name) => name !== host.name).map((name) => name.slice(1))
    .map((number) => `10.244.${number}.0/24 via 10.244.${number}.0`).sort();
  await eventually(`${host.name} has its routes`, 60_000, async () => {
    const lines = (await host.sh("ip route show dev flannel.1 proto 70")).trim().split("\n");
    expect(lines.map((line) => line.split(" ", 3).join(" ")).sort()).toEqual(wanted);
    return true;
  });
}

function numberOf(calls: readonly AuditedCall[], verb: string): number {
  return calls.filter((call) => call.verb === verb).length;
}

/**
 * An API server that starts refuses some for the moment. One that cannot send events fast enough,
 * on a busy machine, closes the watch, which continues where it was.
 */
function expectFewWatches(calls: readonly AuditedCall[]): void {
  expect(numberOf(calls, "watch")).toBeGreaterThanOrEqual(NODES);
  expect(numberOf(calls, "watch")).toBeLessThan(5 * NODES);
}
