/** Three nodes of a real API server: pods reach each other, also while a daemon is replaced. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import type { Family } from "../../src/addr/ip.ts";
import { FLANNELD } from "../support/host.ts";
import {
  KubeCluster,
  type KubeClusterOptions,
  networkConfig,
} from "../support/kube/kube_cluster.ts";
import type { KubeHost } from "../support/kube/kube_host.ts";

interface Case {
  readonly name: string;
  readonly backend: string;
  /** Of the pods and of the underlay. */
  readonly families: readonly Family[];
  readonly store?: KubeClusterOptions["store"];
}

const CASES: readonly Case[] = [
  { name: "vxlan, IPv4", backend: "vxlan", families: [4] },
  { name: "vxlan, dual stack", backend: "vxlan", families: [4, 6] },
  { name: "vxlan, IPv6 only", backend: "vxlan", families: [6] },
  { name: "host-gw, dual stack", backend: "host-gw", families: [4, 6] },
  {
    name: "vxlan, with our own datastore instead of etcd",
    backend: "vxlan",
    families: [4],
    store: "flanneld datastore",
  },
];

describe.each(CASES.map((row) => [row.name, row] as const))("%s", (_, row) => {
  const { families, backend, store = "etcd" } = row;
  let cluster: KubeCluster;

  beforeAll(async () => {
    cluster = await KubeCluster.create({ hosts: 3, families, store });
    await cluster.createNodes({ families });
    cluster.configure(networkConfig(families, { Type: backend }));
    await cluster.startAll({ flags: ["--ip-masq"] });
    await cluster.attachWorkloads();
  }, 180_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 60_000);

  test("every pod reaches every other at full MTU", async () => {
    await cluster.expectMesh();
  }, 60_000);

  test("each node has the annotations that Go flannel would write, byte for byte", async () => {
    for (const host of cluster.hosts) {
      expect(await host.annotations()).toEqual(await expectedAnnotations(host, row));
    }
  });

  test("each node has the condition that Go flannel would write", async () => {
    for (const { name } of cluster.hosts) {
      const condition = await cluster.admin.condition(name, "NetworkUnavailable");
      const { lastHeartbeatTime, lastTransitionTime, ...rest } = condition ?? {};
      expect(rest).toEqual({
        type: "NetworkUnavailable",
        status: "False",
        reason: "FlannelIsUp",
        message: "Flannel is running on this node",
      });
      expect(lastTransitionTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      expect(lastHeartbeatTime).toBe(lastTransitionTime as string);
    }
  });

  test("a restart, a crash and an upgrade under a running ping lose no packet", async () => {
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const [kernel, subnet, annotations] = [
      await one.kernel(),
      one.subnetText(),
      await one.annotations(),
    ];
    const pings = families.flatMap((family) => [one.ping(two, family), two.ping(one, family)]);
    const upgraded = join(one.directory, "flanneld-next");
    copyFileSync(FLANNELD, upgraded);
    for (
      const [signal, binary] of [
        ["SIGTERM", FLANNELD],
        ["SIGKILL", FLANNELD],
        ["SIGTERM", upgraded],
      ] as const
    ) {
      await one.daemon.stop(signal);
      expect(await one.kernel()).toBe(kernel);
      await Bun.sleep(200); // some packets without a daemon
      await one.up({ flags: ["--ip-masq"], binary });
      expect(await one.kernel()).toBe(kernel);
      expect(one.subnetText()).toBe(subnet);
      expect(await one.annotations()).toEqual(annotations);
    }
    for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);
  }, 120_000);
});

/** Measured: what Go flannel writes to such a node. */
async function expectedAnnotations(
  host: KubeHost,
  { backend, families }: Case,
): Promise<Record<string, string>> {
  const data = async (device: string) =>
    backend === "vxlan"
      ? `{"VNI":1,"VtepMAC":"${(await host.sh(`cat /sys/class/net/${device}/address`)).trim()}"}`
      : "null";
  return {
    "backend-type": backend,
    "kube-subnet-manager": "true",
    ...(families.includes(4) && {
      "backend-data": await data("flannel.1"),
      "public-ip": host.address(4),
    }),
    ...(families.includes(6) && {
      "backend-v6-data": await data("flannel-v6.1"),
      "public-ipv6": host.address(6),
    }),
  };
}
