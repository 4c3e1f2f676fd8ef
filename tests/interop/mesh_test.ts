/** Two hosts of each program on one etcd: the leases they exchange and the entries they install. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Family } from "../../src/addr/ip.ts";
import { eventually } from "../support/wait.ts";
import { type Kind, MixedCluster, type MixedHost, NETWORKS, subnetOf } from "./mixed_cluster.ts";

interface Case {
  readonly name: string;
  readonly backend: string;
  readonly families: readonly Family[];
  /** The MTU that each program gives to workloads, on links of 1500 bytes. */
  readonly mtuBytes: Readonly<Record<Kind, number>>;
}

const CASES: readonly Case[] = [
  { name: "vxlan, IPv4", backend: "vxlan", families: [4], mtuBytes: { Go: 1450, ours: 1450 } },
  {
    name: "vxlan, dual stack",
    backend: "vxlan",
    families: [4, 6],
    // An outer IPv6 header is 20 bytes longer than an IPv4 one, which Go flannel ignores.
    mtuBytes: { Go: 1450, ours: 1430 },
  },
  { name: "host-gw, IPv4", backend: "host-gw", families: [4], mtuBytes: { Go: 1500, ours: 1500 } },
  {
    name: "host-gw, dual stack",
    backend: "host-gw",
    families: [4, 6],
    mtuBytes: { Go: 1500, ours: 1500 },
  },
];

describe.each(CASES.map((row) => [row.name, row] as const))("%s", (_, row) => {
  const { backend, families } = row;
  let cluster: MixedCluster;

  beforeAll(async () => {
    const kinds = ["Go", "ours", "Go", "ours"] as const;
    cluster = await MixedCluster.start({ kinds, families, backend: { Type: backend } });
  }, 900_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 180_000);

  test("workloads of Go and of ours reach each other at full MTU", async () => {
    expect(await cluster.unanswered()).toEqual([]);
  }, 180_000);

  test("each program gives the MTU that fits to workloads", () => {
    for (const { host, kind } of cluster.hosts) {
      expect(host.subnet().mtuBytes).toBe(row.mtuBytes[kind]);
    }
  });

  test("both programs write the subnet file in the same form", () => {
    const forms = cluster.hosts.map(({ host }) =>
      host.subnetText().replaceAll(/\.\d+\.1\/|:[^:]+::|MTU=\d+/g, "#")
    );
    expect(new Set(forms).size).toBe(1);
  });

  test("both programs write the same lease key and value, but for their own figures", async () => {
    const forms = await Promise.all(cluster.hosts.map(async (host) => {
      const { key, value, etcdLease } = await cluster.leaseOf(host);
      return `${shape(key)} ${shape(JSON.stringify(value))} ${etcdLease === "0" ? "" : "leased"}`;
    }));
    expect(forms.map((form) => form === forms[0])).toEqual([true, true, true, true]);
  });

  test("the lease of each host gives its own addresses", async () => {
    for (const host of cluster.hosts) {
      const { value } = await cluster.leaseOf(host);
      expect(value.PublicIP).toBe(host.host.address(4));
      expect(value.PublicIPv6).toBe(families.includes(6) ? host.host.address(6) : null);
    }
  });

  test.each([...families])("every host has the entries of every other, IPv%d", async (family) => {
    for (const host of cluster.hosts) {
      const others = cluster.hosts.filter((other) => other !== host);
      const wanted = await Promise.all(
        others.map((peer) => expectedEntries(peer, { backend, family })),
      );
      await eventually("the entries of all peers are there", 30_000, async () => {
        expect(await peerEntries(host, { backend, family })).toEqual(wanted.flat().sort());
        return true;
      });
    }
  }, 180_000);
});

/** A text's form: without addresses, which differ. */
function shape(text: string): string {
  return text
    .replaceAll(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC")
    .replaceAll(/\d+\.\d+\.\d+\.\d+/g, "IPV4")
    .replaceAll(/[0-9a-f]+:[0-9a-f:]*:[0-9a-f]*/g, "IPV6");
}

interface Table {
  readonly backend: string;
  readonly family: Family;
}

const DEVICES: Readonly<Record<Family, string>> = { 4: "flannel.1", 6: "flannel-v6.1" };

/** A host's kernel entries for its peers, as `ip` and `bridge` show them, without details. */
async function peerEntries({ host }: MixedHost, { backend, family }: Table): Promise<string[]> {
  const lines = async (command: string) => (await host.sh(command)).split("\n").filter(Boolean);
  const routes = (await lines(`ip -${family} route show root ${NETWORKS[family]}`))
    .map((line) => /^(\S+ via \S+ dev (?:flannel\S+|eth0)\b)/.exec(line)?.[1])
    .filter((route) => route !== undefined);
  if (backend === "host-gw") return routes.sort();
  const device = DEVICES[family];
  const neighbours = (await lines(`ip -${family} neighbour show dev ${device} nud permanent`))
    .map((line) => /^\S+ lladdr \S+/.exec(line)?.[0] ?? line);
  const fdb = (await lines(`bridge fdb show dev ${device}`))
    .map((line) => /^\S+ dst \S+/.exec(line)?.[0] ?? line);
  return [...routes, ...neighbours, ...fdb].sort();
}

/** The entries that every other host should have for this peer. */
async function expectedEntries(peer: MixedHost, { backend, family }: Table): Promise<string[]> {
  const publicAddress = peer.host.address(family);
  const { first, subnet } = subnetOf(peer, family);
  if (backend === "host-gw") return [`${subnet} via ${publicAddress} dev eth0`];
  const device = DEVICES[family];
  const mac = (await peer.host.sh(`cat /sys/class/net/${device}/address`)).trim();
  return [
    `${subnet} via ${first} dev ${device}`,
    `${first} lladdr ${mac}`,
    `${mac} dst ${publicAddress}`,
  ];
}
