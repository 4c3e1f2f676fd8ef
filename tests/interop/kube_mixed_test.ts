/** Nodes of both programs on one API server: what they write there, and that they follow it. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Family } from "../../src/addr/ip.ts";
import { eventually } from "../support/wait.ts";
import { KubeMixedCluster } from "./kube_mixed_cluster.ts";
import { type MixedHost, NETWORKS } from "./mixed_cluster.ts";

interface Case {
  readonly name: string;
  readonly backend: string;
  readonly families: readonly Family[];
  /** The annotations of each node, but for its own figures. */
  readonly annotations: Readonly<Record<string, string>>;
}

const COMMON = { "kube-subnet-manager": "true", "public-ip": "IPV4" };
const VTEP = '{"VNI":1,"VtepMAC":"MAC"}';

const CASES: readonly Case[] = [
  {
    name: "vxlan, IPv4",
    backend: "vxlan",
    families: [4],
    annotations: { "backend-data": VTEP, "backend-type": "vxlan", ...COMMON },
  },
  {
    name: "vxlan, dual stack",
    backend: "vxlan",
    families: [4, 6],
    annotations: {
      "backend-data": VTEP,
      "backend-type": "vxlan",
      "backend-v6-data": VTEP,
      ...COMMON,
      "public-ipv6": "IPV6",
    },
  },
  {
    name: "host-gw, IPv4",
    backend: "host-gw",
    families: [4],
    annotations: { "backend-data": "null", "backend-type": "host-gw", ...COMMON },
  },
  {
    name: "host-gw, dual stack",
    backend: "host-gw",
    families: [4, 6],
    annotations: {
      "backend-data": "null",
      "backend-type": "host-gw",
      "backend-v6-data": "null",
      ...COMMON,
      "public-ipv6": "IPV6",
    },
  },
];

describe.each(CASES.map((row) => [row.name, row] as const))("%s", (_, row) => {
  let cluster: KubeMixedCluster;

  beforeAll(async () => {
    cluster = await KubeMixedCluster.start({
      kinds: ["Go", "ours", "Go", "ours"],
      families: row.families,
      backend: { Type: row.backend },
    });
  }, 900_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 180_000);

  test("workloads of Go and of ours reach each other at full MTU", async () => {
    expect(await cluster.unanswered()).toEqual([]);
  }, 180_000);

  test("both programs write the same annotations, but for their own figures", async () => {
    for (const host of cluster.hosts) {
      const annotations = await cluster.annotations(host);
      expect([host.kind, shape(annotations)]).toEqual([host.kind, row.annotations]);
      expect(annotations["public-ip"]).toBe(host.host.address(4));
      if (row.families.includes(6)) {
        expect(annotations["public-ipv6"]).toBe(host.host.address(6));
      }
    }
  });

  test("both programs report the network as available in the same form", async () => {
    for (const { host, kind } of cluster.hosts) {
      const condition = await eventually(
        `${kind} has written the condition`,
        30_000,
        () => cluster.cluster.admin.condition(host.name, "NetworkUnavailable"),
      );
      expect(condition).toEqual({
        type: "NetworkUnavailable",
        status: "False",
        reason: "FlannelIsUp",
        message: "Flannel is running on this node",
        lastHeartbeatTime: expect.stringMatching(SECONDS),
        lastTransitionTime: expect.stringMatching(SECONDS),
      });
    }
  }, 60_000);

  test("both programs write the subnet file in the same form", () => {
    const forms = cluster.hosts.map(({ host }) =>
      host.subnetText().replaceAll(/\.\d+\.1\/|:\d+::1\/|MTU=\d+/g, "#")
    );
    expect(new Set(forms).size).toBe(1);
  });

  test.each(["Go", "ours"] as const)(
    "a node of %s that leaves is forgotten by the others, and known when it joins again",
    async (kind) => {
      const leaving = cluster.first(kind);
      const others = cluster.hosts.filter((host) => host !== leaving);
      await leaving.host.daemon.stop();
      await cluster.deleteNode(leaving);
      await eventually("no other node has a route to it", 30_000, async () => {
        expect(await haveRoutesTo(leaving, others, row.families)).toEqual([]);
        return true;
      });
      await cluster.createNode(leaving);
      await leaving.up(kind);
      await eventually("every other node has a route to it", 30_000, async () => {
        expect(await haveRoutesTo(leaving, others, row.families)).toEqual(
          others.map(({ host }) => host.name),
        );
        return true;
      });
      expect(await cluster.unanswered()).toEqual([]);
    },
    180_000,
  );
});

const SECONDS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** Annotations without what differs between nodes. */
function shape(annotations: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(annotations).map(([key, value]) => [
      key,
      value.replace(/([0-9a-f]{2}:){5}[0-9a-f]{2}/, "MAC")
        .replace(/^\d+\.\d+\.\d+\.\d+$/, "IPV4")
        .replace(/^[0-9a-f]+:[0-9a-f:]*$/, "IPV6"),
    ]),
  );
}

/** The names of the hosts that have a route to this one's subnet in each family. */
async function haveRoutesTo(
  target: MixedHost,
  hosts: readonly MixedHost[],
  families: readonly Family[],
): Promise<string[]> {
  const subnets = families.map((family) => target.host.subnet().subnets[family] as string);
  const found: string[] = [];
  for (const { host } of hosts) {
    const routes = await Promise.all(
      families.map((family) => host.sh(`ip -${family} route show root ${NETWORKS[family]}`)),
    );
    // Some of them but not all is neither forgotten nor known.
    const count = subnets.filter((subnet) => routes.join("").includes(`${subnet} via`)).length;
    if (count > 0) found.push(count === subnets.length ? host.name : `${host.name}, in part`);
  }
  return found;
}
