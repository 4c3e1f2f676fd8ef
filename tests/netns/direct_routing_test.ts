/** vxlan with DirectRouting: two hosts on one segment and one behind a router. */

import { expect, test } from "bun:test";
import { Cluster } from "../support/cluster.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const CONFIG = { ...IPV4, Backend: { Type: "vxlan", DirectRouting: true } };

async function directCluster(): Promise<Cluster> {
  const cluster = await Cluster.create({ hosts: 3, segments: [0, 0, 1] });
  rememberSubnets(cluster, { ipv4: true, ipv6: false });
  await cluster.configure(CONFIG);
  await cluster.startAll();
  return cluster;
}

test(
  "a peer on the same segment is reached without the tunnel, one behind a router with it",
  async () => {
    await using cluster = await directCluster();
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    const [one, two, three] = [cluster.host(1), cluster.host(2), cluster.host(3)];
    expect(await one.sh(`ip route get ${two.workload(4)}`)).toContain(
      `via ${two.address(4)} dev eth0`,
    );
    expect(await one.sh(`ip route get ${three.workload(4)}`)).toContain("dev flannel.1");
    expect(await three.sh(`ip route get ${one.workload(4)}`)).toContain("dev flannel.1");
    expect(await one.kernel()).not.toContain(`dst ${two.address(4)}`);
  },
  120_000,
);

test(
  "a direct route is removed although its peer is behind a router by then",
  async () => {
    await using cluster = await directCluster();
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const lease = await cluster.leaseOf(two);
    await two.daemon.stop("SIGKILL");
    await eventually(
      "the direct route is there",
      30_000,
      async () => (await one.kernel()).includes("route 10.5.2.0/24 via 192.0.2.2 dev eth0"),
    );
    await one.sh("ip route add 192.0.2.2/32 via 192.0.2.254");
    await cluster.etcd.delete(`/coreos.com/network/subnets/${lease.key}`);
    await eventually(
      "the subnet's route is gone",
      30_000,
      async () => !(await one.kernel()).includes("10.5.2.0"),
    );
    expect(await one.sh("ip route show 192.0.2.2")).toContain("via 192.0.2.254");
  },
  120_000,
);

test("a peer that moves behind a router is reached through the tunnel from then on", async () => {
  await using cluster = await directCluster();
  const one = cluster.host(1);
  await one.sh("ip route add 192.0.2.2/32 via 192.0.2.254");
  await eventually(
    "the tunnel is used",
    30_000,
    async () => (await one.sh("ip route get 10.5.2.2")).includes("dev flannel.1"),
  );
  await one.sh("ip route del 192.0.2.2/32 via 192.0.2.254");
  await eventually(
    "the direct route is used",
    30_000,
    async () => (await one.sh("ip route get 10.5.2.2")).includes("via 192.0.2.2 dev eth0"),
  );
}, 120_000);
