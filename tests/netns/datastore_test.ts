/** Clusters on this program's datastore: many daemons that start at once, the move to etcd. */

import { expect, test } from "bun:test";
import { join } from "node:path";
import { parseDump } from "../../src/datastore/transfer/dump_text.ts";
import { Cluster, PREFIX, type StoredLeaseValue } from "../support/cluster.ts";
import { type Daemon, FLANNELD, type Host } from "../support/host.ts";
import type { PingStream } from "../support/ping_stream.ts";
import { eventually } from "../support/wait.ts";

/** A datastore on a host, as at the start of its manual. */
async function startDatastore(
  host: Host,
  flags: readonly string[],
): Promise<{ server: Daemon; endpoints: string }> {
  const address = `${host.address(4)}:2379`;
  const server = host.start({
    bare: true,
    // The hosts' addresses are those of documentation, which count as public.
    flags: [
      "datastore",
      `--listen=${address}`,
      "--insecure",
      `--data-dir=${join(host.directory, "datastore")}`,
      ...flags,
    ],
  });
  await eventually("the datastore serves", 30_000, () => server.log().includes("] ready; "));
  return { server, endpoints: `http://${address}` };
}

test("daemons that move to etcd one by one keep their subnets, and no packet is lost", async () => {
  await using cluster = await Cluster.create({ hosts: 3 });
  const [one, two, three] = [cluster.host(1), cluster.host(2), cluster.host(3)];
  const { server, endpoints } = await startDatastore(one, ["--network=10.5.0.0/16"]);
  const settled = [one, two];
  for (const host of settled) await host.up({ flags: [`--etcd-endpoints=${endpoints}`] });
  await cluster.attachWorkloads(settled);
  await cluster.expectMesh({ hosts: settled });
  const before = settled.map((host) => host.subnetText());
  const pings = [one.ping(two), two.ping(one)];

  expect(await cluster.etcd.list("/")).toEqual([]);
  const etcd = cluster.etcd.endpoints;
  const out = await one.sh(
    `${FLANNELD} datastore migrate --etcd-endpoints=${endpoints} --to=${etcd}`,
  );
  expect(out).toBe(`--etcd-endpoints=${etcd}\n`);
  expect(await cluster.leases()).toHaveLength(2);
  const flags = [out.trim()];
  for (const host of settled) {
    await host.daemon.stop();
    await someAnswers(pings);
    await host.up({ flags });
    await someAnswers(pings);
  }
  expect((await server.stop()).code).toBe(0);
  await someAnswers(pings);
  await three.up({ flags });
  await cluster.attachWorkloads([three]);
  await cluster.expectMesh();

  expect(settled.map((host) => host.subnetText())).toEqual(before);
  expect(await cluster.leases()).toHaveLength(3);
  for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);
}, 120_000);

/** Waits until each ping has received more replies. */
async function someAnswers(pings: readonly PingStream[]): Promise<void> {
  const goals = pings.map(({ received }) => received + 20);
  await eventually(
    "packets flow",
    30_000,
    () => pings.every(({ received }, index) => received >= (goals[index] as number)),
  );
}

test("60 daemons that start at once on 63 subnets get one each", async () => {
  await using cluster = await Cluster.create({ hosts: 60 });
  const one = cluster.host(1);
  const network = ["--network=10.5.0.0/18", "--backend=alloc"];
  const { endpoints } = await startDatastore(one, network);
  for (const host of cluster.hosts) host.start({ flags: [`--etcd-endpoints=${endpoints}`] });
  for (const host of cluster.hosts) await host.ready(240_000);

  const exported = await one.sh(`${FLANNELD} datastore export --etcd-endpoints=${endpoints}`);
  const taken = leasesOf(exported);
  expect(taken.size).toBe(60);
  expect(new Set(taken.values()).size).toBe(60);
  for (const host of cluster.hosts) {
    const subnet = /FLANNEL_SUBNET=(.*)\.1\/24/.exec(host.subnetText())?.[1];
    expect(taken.get(host.address(4))).toBe(`${subnet}.0-24`);
  }
}, 300_000);

/** The keys of an export's subnets, without their prefix, by the nodes' public addresses. */
function leasesOf(exported: string): Map<string, string> {
  const folder = `${PREFIX}/subnets/`;
  const pairs = parseDump(exported).entries
    .map(({ key, value }) => [text(key), text(value)] as const)
    .filter(([key]) => key.startsWith(folder));
  return new Map(pairs.map(([key, value]) => [
    (JSON.parse(value) as StoredLeaseValue).PublicIP,
    key.slice(folder.length),
  ]));
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
