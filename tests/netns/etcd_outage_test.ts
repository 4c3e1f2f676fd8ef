/** etcd is killed, restarted, cut off or loses its leader: packets flow, the daemon recovers. */

import { expect, test } from "bun:test";
import type { LabEtcd } from "../../src/lab/lab_etcd.ts";
import { Cluster, PREFIX } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually, throughout } from "../support/wait.ts";

const VXLAN = { ...IPV4, Backend: { Type: "vxlan" } };

async function pair(options: { etcdMembers?: number } = {}): Promise<Cluster> {
  const cluster = await Cluster.create({ hosts: 3, ...options });
  rememberSubnets(cluster, { ipv4: true, ipv6: false });
  await cluster.configure(VXLAN);
  for (const host of [cluster.host(1), cluster.host(2)]) await host.up();
  await cluster.attachWorkloads([cluster.host(1), cluster.host(2)]);
  await cluster.expectMesh({ hosts: [cluster.host(1), cluster.host(2)] });
  return cluster;
}

/** A third host joins; the first must learn of it. */
async function expectNewPeerSeen(cluster: Cluster): Promise<void> {
  await cluster.host(3).up();
  await eventually(
    "the new peer is in the kernel",
    60_000,
    async () => (await cluster.host(1).kernel()).includes("route 10.5.3.0/24"),
  );
}

/** Log lines that are not of the daemon's start. */
function linesSince(host: Host, lines: number): string[] {
  return host.daemon.log().trimEnd().split("\n").slice(lines);
}

test(
  "etcd killed and restarted under a running ping: no packet lost, later peers are seen",
  async () => {
    await using cluster = await pair();
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const before = await one.kernel();
    const ping = one.ping(two);
    await cluster.etcd.kill();
    await throughout(
      "the kernel keeps its entries",
      2_000,
      async () => await one.kernel() === before,
    );
    cluster.etcd.restart();
    await cluster.etcd.ready(30_000);
    await expectNewPeerSeen(cluster);
    expect((await ping.stop()).lost).toEqual([]);
    expect(await cluster.leases()).toHaveLength(3);
  },
  120_000,
);

test(
  "etcd cut off without a reset: the data plane stays, and what changed meanwhile is applied",
  async () => {
    await using cluster = await pair();
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const before = await one.kernel();
    const ping = one.ping(two);
    await cluster.partitionEtcd(true);
    await throughout(
      "the kernel keeps its entries",
      6_000,
      async () => await one.kernel() === before,
    );
    const value = JSON.stringify({
      PublicIP: "192.0.2.9",
      PublicIPv6: null,
      BackendType: "vxlan",
      BackendData: { VNI: 1, VtepMAC: "02:00:00:00:00:09" },
    });
    await cluster.etcd.put(`${PREFIX}/subnets/10.5.9.0-24`, value);
    await cluster.partitionEtcd(false);
    await eventually(
      "the change is in the kernel",
      30_000,
      async () => (await one.kernel()).includes("route 10.5.9.0/24"),
    );
    expect((await ping.stop()).lost).toEqual([]);
  },
  120_000,
);

test("an outage is logged once and not at every attempt", async () => {
  await using cluster = await pair();
  const one = cluster.host(1);
  const lines = one.daemon.log().trimEnd().split("\n").length;
  await cluster.etcd.kill();
  await eventually("it is logged", 30_000, () => linesSince(one, lines).length > 0);
  await Bun.sleep(10_000);
  const logged = linesSince(one, lines);
  expect(logged.join("\n")).toMatch(/etcd|192\.0\.2\.253/);
  expect(logged.length).toBeLessThanOrEqual(12);
  cluster.etcd.restart();
  await cluster.etcd.ready(30_000);
  await expectNewPeerSeen(cluster);
}, 120_000);

test(
  "a start while etcd is down waits for it, and keeps what is in the kernel meanwhile",
  async () => {
    await using cluster = await pair();
    const one = cluster.host(1);
    const before = await one.kernel();
    const ping = one.ping(cluster.host(2));
    await cluster.etcd.kill();
    await one.daemon.stop();
    const daemon = one.start();
    await eventually(
      "it answers",
      30_000,
      async () => (await one.http("/healthz")).status === 200,
    );
    await throughout(
      "it waits and changes nothing",
      3_000,
      async () => (await one.http("/readyz")).status !== 200 && await one.kernel() === before,
    );
    expect((await one.http("/healthz")).status).toBe(200);
    cluster.etcd.restart();
    await one.ready();
    expect(await one.kernel()).toBe(before);
    expect((await ping.stop()).lost).toEqual([]);
    expect(daemon.logLines(/./).length).toBeLessThan(60);
  },
  120_000,
);

test("when three members lose their leader, the daemons continue with the other two", async () => {
  await using cluster = await pair({ etcdMembers: 3 });
  const one = cluster.host(1);
  const ping = one.ping(cluster.host(2));
  for (const leader of [await leaderOf(cluster), undefined]) {
    if (leader === undefined) break;
    await leader.kill();
    await expectNewPeerSeen(cluster);
    // The daemons keep their leases and still watch them.
    const alive = cluster.members.find((member) => member !== leader) as LabEtcd;
    const key = `${PREFIX}/subnets/10.5.3.0-24`;
    await eventually("it is deleted", 30_000, async () => (await alive.delete(key), true));
    await eventually("the deleted lease is restored", 30_000, async () => {
      const keys = await alive.list(`${PREFIX}/subnets/`);
      return keys.some(({ key }) => key.endsWith("10.5.3.0-24"));
    });
  }
  expect((await ping.stop()).lost).toEqual([]);
}, 120_000);

function leaderOf(cluster: Cluster): Promise<LabEtcd> {
  return eventually("etcd has a leader", 30_000, async () => {
    for (const member of cluster.members) {
      const status = await member.call("maintenance/status", {}) as {
        leader: string;
        header: { member_id: string };
      };
      if (status.leader === status.header.member_id) return member;
    }
    return undefined;
  });
}
