/** Tests of a host that changes from one program to the other, or restarts its own. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { familiesOf } from "../../src/addr/family.ts";
import type { Family } from "../../src/addr/ip.ts";
import { eventually } from "../support/wait.ts";
import {
  type Kind,
  MixedCluster,
  type MixedClusterOptions,
  type MixedHost,
  NETWORKS,
} from "./mixed_cluster.ts";

export interface TakeoverCase {
  readonly name: string;
  readonly backend: string;
  readonly families: readonly Family[];
}

/** Hosts of both programs with either store. */
export interface TakeoverCluster extends AsyncDisposable {
  readonly hosts: readonly MixedHost[];
  first(kind: Kind): MixedHost;
  /** What identifies the host in the store. */
  entryOf(host: MixedHost): Promise<unknown>;
  unanswered(): Promise<string[]>;
}

/** For backends whose flows do not depend on the daemon: no change of it may lose a packet. */
export function describeTakeover(
  cases: readonly TakeoverCase[],
  start: (options: MixedClusterOptions) => Promise<TakeoverCluster> = MixedCluster.start,
): void {
  describe.each(cases.map((row) => [row.name, row] as const))("%s", (_, { backend, families }) => {
    let cluster: TakeoverCluster;

    beforeAll(async () => {
      const kinds = ["Go", "ours"] as const;
      cluster = await start({ kinds, families, backend: { Type: backend } });
    }, 900_000);

    afterAll(async () => {
      await cluster?.[Symbol.asyncDispose]();
    }, 180_000);

    test("our restart loses no packet of a running ping", async () => {
      const host = cluster.first("ours");
      expect(await lostWhile(cluster, host, () => host.replaceBy("ours"))).toEqual([]);
    }, 180_000);

    test("our restart after SIGKILL loses no packet of a running ping", async () => {
      const host = cluster.first("ours");
      expect(await lostWhile(cluster, host, () => host.replaceBy("ours", "SIGKILL"))).toEqual([]);
    }, 180_000);

    test("Go's restart loses no packet of a running ping to ours", async () => {
      const host = cluster.first("Go");
      expect(await lostWhile(cluster, host, () => host.replaceBy("Go"))).toEqual([]);
    }, 180_000);

    test("a host upgraded from Go to ours keeps device, MAC, lease and flows", async () => {
      await takeover(cluster, { from: "Go", to: "ours" });
    }, 180_000);

    test("a host downgraded from ours to Go keeps device, MAC, lease and flows", async () => {
      await takeover(cluster, { from: "ours", to: "Go" });
    }, 180_000);

    test("after the changes every workload reaches every other", async () => {
      expect(await cluster.unanswered()).toEqual([]);
    }, 180_000);
  });
}

async function takeover(cluster: TakeoverCluster, change: { from: Kind; to: Kind }): Promise<void> {
  const host = cluster.hosts[0] as MixedHost;
  expect(host.kind).toBe(change.from);
  const before = await identity(cluster, host);
  expect(await lostWhile(cluster, host, () => host.replaceBy(change.to))).toEqual([]);
  await eventually("the host is what it was", 30_000, async () => {
    expect(await identity(cluster, host)).toEqual(before);
    return true;
  });
}

/** What other hosts, workloads and scripts identify this host by, and its routes to peers. */
async function identity(
  cluster: TakeoverCluster,
  host: MixedHost,
): Promise<Record<string, unknown>> {
  return {
    links: flannelLinks(await host.host.sh("ip -o link show")),
    routes: [
      ...peerRoutes(await host.host.sh(`ip -4 route show root ${NETWORKS[4]}`)),
      ...peerRoutes(await host.host.sh(`ip -6 route show root ${NETWORKS[6]}`)),
    ].sort(),
    entry: await cluster.entryOf(host),
    // In dual stack the programs differ in this, and only one of them is right.
    subnetFile: host.host.subnetText().replace(/MTU=\d+/, ""),
  };
}

/**
 * Index, name and link-layer address of the devices: a recreated device has another index. The MTU
 * of an IPv6 device differs between the programs and is corrected in place.
 */
function flannelLinks(text: string): string[] {
  return [...text.matchAll(/^(\d+): (flannel\S+): .*(link\/\S+ \S+)/gm)]
    .map(([, index, name, mac]) => `${index} ${name} ${mac}`);
}

/** The gateways and devices of the routes to peers; flows do not depend on their protocol. */
function peerRoutes(text: string): string[] {
  return [...text.matchAll(/^\S+ via \S+ dev (?:flannel\S+|eth0)/gm)].map(([route]) => route);
}

/** The streams that lost echo requests during `action`: from the host and to it, each family. */
async function lostWhile(
  cluster: TakeoverCluster,
  { host }: MixedHost,
  action: () => Promise<void>,
): Promise<string[]> {
  const other = cluster.hosts.find((candidate) => candidate.host !== host)?.host;
  if (!other) throw new Error("there is no other host");
  const families = familiesOf(host.subnet().subnets);
  const streams = families.flatMap((family) => [
    { name: `IPv${family} from it`, stream: host.ping(other, family) },
    { name: `IPv${family} to it`, stream: other.ping(host, family) },
  ]);
  const flowing = async () => {
    const before = streams.map(({ stream }) => stream.received);
    await eventually(
      "the pings are answered",
      30_000,
      () => streams.every(({ stream }, index) => stream.received > (before[index] ?? 0) + 5),
    );
  };
  await flowing();
  await action();
  // The new program may still change entries after it is ready.
  await Bun.sleep(1_000);
  await flowing();
  const results = await Promise.all(
    streams.map(async ({ name, stream }) => ({ name, ...await stream.stop() })),
  );
  return results.filter(({ lost }) => lost.length > 0)
    .map(({ name, lost, sent }) => `${name}: ${lost.length} of ${sent}`);
}
