/** Two hosts of each program on one etcd: what they tell each other and what becomes of it. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Family } from "../../src/addr/ip.ts";
import { eventually, type Kind, MixedCluster, type MixedHost } from "./mixed_cluster.ts";

const KINDS = ["Go", "ours", "Go", "ours"] as const;

interface Case {
  readonly name: string;
  readonly backend: string;
  readonly families: readonly Family[];
  /** What each program gives to workloads, on wires of 1500 bytes. */
  readonly mtuBytes: Readonly<Record<Kind, number>>;
}

const CASES: readonly Case[] = [
  { name: "vxlan, IPv4", backend: "vxlan", families: [4], mtuBytes: { Go: 1450, ours: 1450 } },
  {
    name: "vxlan, dual stack",
    backend: "vxlan",
    families: [4, 6],
    // An outer IPv6 header is 20 bytes longer than an IPv4 one, which Go flannel does not know.
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
    cluster = await MixedCluster.start({ kinds: KINDS, families, backend: { Type: backend } });
  }, 900_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 60_000);

  test("workloads of Go and of ours reach each other at full MTU", async () => {
    expect(await cluster.unanswered()).toEqual([]);
  }, 60_000);

  test("each program gives the MTU that fits to workloads", () => {
    for (const host of cluster.hosts) {
      expect(host.subnet.mtuBytes).toBe(row.mtuBytes[host.kind]);
    }
  });

  test("both programs write the subnet file in the same form", () => {
    const forms = cluster.hosts.map((host) =>
      host.subnetText.replaceAll(/\.\d+\.1\/|:[^:]+::|MTU=\d+/g, "#")
    );
    expect(new Set(forms).size).toBe(1);
  });

  test("both programs write the same lease key and value, but for their own figures", async () => {
    const forms = await Promise.all(cluster.hosts.map(async (host) => {
      const { key, value, lease } = await cluster.leaseOf(host);
      return `${shape(key)} ${shape(value)} ${lease === "0" ? "reserved" : "leased"}`;
    }));
    expect(forms.map((form) => form === forms[0])).toEqual([true, true, true, true]);
  });

  test("the lease of each host gives its own address", async () => {
    for (const host of cluster.hosts) {
      const value = JSON.parse((await cluster.leaseOf(host)).value);
      expect(value.PublicIP).toBe(host.host.addresses[4]);
      expect(value.PublicIPv6).toBe(host.host.addresses[6] ?? null);
    }
  });

  test.each([...families])("every host has the entries of every other, IPv%d", async (family) => {
    for (const host of cluster.hosts) {
      const others = cluster.hosts.filter((other) => other !== host);
      const wanted = await Promise.all(
        others.map((peer) => expectedEntries(peer, { backend, family })),
      );
      await eventually(async () => {
        expect(await peerEntries(host, { backend, family })).toEqual(wanted.flat().sort());
      });
    }
  }, 60_000);
});

/** A text's form: numbers, hexadecimal groups and the like are left out. */
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

const DEVICE: Readonly<Record<Family, string>> = { 4: "flannel.1", 6: "flannel-v6.1" };
const NETWORK: Readonly<Record<Family, string>> = { 4: "10.244.0.0/16", 6: "fd00:10:244::/48" };

/** What the kernel of a host holds for its peers, as `ip` and `bridge` say it, without details. */
async function peerEntries(host: MixedHost, { backend, family }: Table): Promise<string[]> {
  const root = ["route", "show", "root", NETWORK[family]];
  const routes = lines(await host.ip(`-${family}`, ...root))
    .map((line) => /^(\S+ via \S+ dev (?:flannel\S+|eth0)\b)/.exec(line)?.[1])
    .filter((route) => route !== undefined);
  if (backend === "host-gw") return routes.sort();
  const device = ["dev", DEVICE[family]];
  const neighbours = lines(
    await host.ip(`-${family}`, "neighbour", "show", ...device, "nud", "permanent"),
  ).map((line) => /^\S+ lladdr \S+/.exec(line)?.[0] ?? line);
  const fdb = lines(await host.bridge("fdb", "show", ...device))
    .map((line) => /^\S+ dst \S+/.exec(line)?.[0] ?? line);
  return [...routes, ...neighbours, ...fdb].sort();
}

/** The entries that this peer is to have on every other host. */
async function expectedEntries(peer: MixedHost, { backend, family }: Table): Promise<string[]> {
  const publicAddress = peer.host.addresses[family];
  const gateway = peer.subnet.gateways[family];
  if (!gateway) throw new Error(`${peer.name} has no IPv${family} subnet`);
  const subnetAddress = gateway.address.replace(/1$/, family === 4 ? "0" : "");
  const subnet = `${subnetAddress}/${gateway.length}`;
  if (backend === "host-gw") return [`${subnet} via ${publicAddress} dev eth0`];
  const mac = /link\/ether (\S+)/.exec(await peer.ip("link", "show", DEVICE[family]))?.[1];
  return [
    `${subnet} via ${subnetAddress} dev ${DEVICE[family]}`,
    `${subnetAddress} lladdr ${mac}`,
    `${mac} dst ${publicAddress}`,
  ];
}

function lines(text: string): string[] {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
}
