/** A host changes from one program to the other, or restarts its own, under a running ping. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Family } from "../../src/addr/ip.ts";
import {
  eventually,
  type Kind,
  MixedCluster,
  type MixedHost,
  RunningPing,
} from "./mixed_cluster.ts";

const CASES: readonly { name: string; backend: string; families: readonly Family[] }[] = [
  { name: "vxlan, IPv4", backend: "vxlan", families: [4] },
  { name: "vxlan, dual stack", backend: "vxlan", families: [4, 6] },
  { name: "host-gw, dual stack", backend: "host-gw", families: [4, 6] },
];

describe.each(CASES.map((row) => [row.name, row] as const))("%s", (_, { backend, families }) => {
  let cluster: MixedCluster;

  beforeAll(async () => {
    const kinds = ["Go", "ours"] as const;
    cluster = await MixedCluster.start({ kinds, families, backend: { Type: backend } });
  }, 900_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  }, 60_000);

  test("our restart loses no packet of a running ping", async () => {
    const host = cluster.first("ours");
    expect(await lostWhile(cluster, host, () => host.replaceBy("ours"))).toEqual(none(families));
  }, 60_000);

  test("our restart after SIGKILL loses no packet of a running ping", async () => {
    const host = cluster.first("ours");
    expect(await lostWhile(cluster, host, () => host.replaceBy("ours", "SIGKILL")))
      .toEqual(none(families));
  }, 60_000);

  test("Go's restart loses no packet of a running ping to ours", async () => {
    const host = cluster.first("Go");
    expect(await lostWhile(cluster, host, () => host.replaceBy("Go"))).toEqual(none(families));
  }, 60_000);

  const upgrade = "a host upgraded from Go to ours keeps device, MAC, lease and flows";
  test(upgrade, () => takeover(cluster, { from: "Go", to: "ours", families }), 60_000);

  // The other host runs ours, and so does this one now.
  const downgrade = "a host downgraded from ours to Go keeps device, MAC, lease and flows";
  test(downgrade, () => takeover(cluster, { from: "ours", to: "Go", families }), 60_000);

  test("after the changes every workload reaches every other", async () => {
    expect(await cluster.unanswered()).toEqual([]);
  }, 60_000);
});

async function takeover(
  cluster: MixedCluster,
  change: { from: Kind; to: Kind; families: readonly Family[] },
): Promise<void> {
  const host = cluster.hosts[0] as MixedHost;
  expect(host.kind).toBe(change.from);
  const before = await identity(cluster, host);
  const lost = await lostWhile(cluster, host, async () => {
    await host.replaceBy(change.to);
    // Whatever the new program does after it is ready, it does to the running ping.
    await Bun.sleep(1_000);
  });
  expect(lost).toEqual(none(change.families));
  await eventually(async () => expect(await identity(cluster, host)).toEqual(before));
}

/** What the other hosts, workloads and scripts know this host by, and its entries for peers. */
async function identity(cluster: MixedCluster, host: MixedHost): Promise<Record<string, unknown>> {
  const { key, value } = await cluster.leaseOf(host);
  return {
    links: flannelLinks(await host.ip("-o", "link", "show")),
    routes: [
      ...peerRoutes(await host.ip("-4", "route", "show", "root", "10.244.0.0/16")),
      ...peerRoutes(await host.ip("-6", "route", "show", "root", "fd00:10:244::/48")),
    ].sort(),
    lease: { key, value: JSON.parse(value) },
    subnetFile: host.subnetText.replace(/MTU=\d+/, ""),
  };
}

/**
 * Index, name and MAC of the devices: a device made anew has another index. The MTU of an IPv6
 * device differs between the programs and is corrected in place.
 */
function flannelLinks(text: string): string[] {
  return [...text.matchAll(/^(\d+): (flannel\S+): .*(link\/ether \S+)/gm)]
    .map(([, index, name, mac]) => `${index} ${name} ${mac}`);
}

/** Where the routes to peers lead; who made them is not what flows depend on. */
function peerRoutes(text: string): string[] {
  return [...text.matchAll(/^\S+ via \S+ dev (?:flannel\S+|eth0)/gm)].map(([route]) => route);
}

/** Echo requests lost while something is done, from the host and to it, in each family. */
async function lostWhile(
  cluster: MixedCluster,
  host: MixedHost,
  action: () => Promise<void>,
): Promise<Record<string, number>> {
  const other = cluster.hosts.find((candidate) => candidate !== host) as MixedHost;
  const families = ([4, 6] as const).filter((family) => host.subnet.gateways[family]);
  const pings = await Promise.all(families.flatMap((family) => [
    RunningPing.start(host, other, family).then((ping) => [`IPv${family} from it`, ping] as const),
    RunningPing.start(other, host, family).then((ping) => [`IPv${family} to it`, ping] as const),
  ]));
  await action();
  const lost = pings.map(async ([name, ping]) => [name, await ping.lost()] as const);
  return Object.fromEntries(await Promise.all(lost));
}

function none(families: readonly Family[]): Record<string, number> {
  const names = families.flatMap((family) => [`IPv${family} from it`, `IPv${family} to it`]);
  return Object.fromEntries(names.map((name) => [name, 0]));
}
