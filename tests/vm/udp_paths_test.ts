/** udp with both data paths in one network, and hosts that change between them. */

import { expect, test } from "bun:test";
import { Cluster } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";

type Path = "fou" | "tun";

function up(host: Host, path: Path) {
  return host.up({ env: { FLANNELD_UDP_DATA_PATH: path } });
}

async function startCluster(paths: readonly Path[]): Promise<Cluster> {
  const cluster = await Cluster.create({ hosts: paths.length });
  try {
    rememberSubnets(cluster, { ipv4: true, ipv6: false });
    await cluster.configure({ ...IPV4, Backend: { Type: "udp" } });
    for (const [i, path] of paths.entries()) await up(cluster.host(i + 1), path);
    await cluster.attachWorkloads();
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

test("hosts with either data path reach each other at full MTU", async () => {
  await using cluster = await startCluster(["fou", "tun", "tun", "fou"]);
  await cluster.expectMesh();
  expect(await cluster.host(1).kernel()).toContain("link flannel0: mtu 1472 state up type ipip");
  expect(await cluster.host(2).kernel()).toContain("type tun");
}, 180_000);

test("a change of the data path replaces the device, and closes or opens the port", async () => {
  await using cluster = await startCluster(["fou", "fou"]);
  const one = cluster.host(1);
  const kernel = async () => (await one.kernel()).replace(/ address \S+ type tun/, " type tun");
  const before = await kernel();
  expect(before).toContain("fou port 8285 ipproto 4");
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    await one.daemon.stop(signal);
    await up(one, "tun");
    await cluster.expectMesh();
    expect(await kernel()).toBe([
      "addr 10.5.1.0/32 dev flannel0\n",
      "link flannel0: mtu 1472 state up type tun\n",
      "route 10.5.0.0/16 dev flannel0 proto 70 scope link\n",
    ].join(""));
    await one.daemon.stop(signal);
    await up(one, "fou");
    await cluster.expectMesh();
    expect(await kernel()).toBe(before);
  }
}, 180_000);

test("the FOU port of a previous run does not survive a change of path and port", async () => {
  await using cluster = await startCluster(["fou", "fou"]);
  const one = cluster.host(1);
  for (const host of cluster.hosts) await host.daemon.stop();
  await cluster.configure({ ...IPV4, Backend: { Type: "udp", Port: 9000 } });
  for (const host of cluster.hosts) await up(host, "tun");
  await cluster.expectMesh();
  expect(await one.sh("ip fou show")).toBe("");
}, 180_000);
