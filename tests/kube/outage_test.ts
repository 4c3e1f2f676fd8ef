/**
 * The API server is killed, its etcd is replaced, or changes have been compacted: packets flow, and
 * what has changed is applied without touching anything else.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { KubeCluster, networkConfig } from "../support/kube/kube_cluster.ts";
import { type KubeHost, RELAY_URL } from "../support/kube/kube_host.ts";
import {
  expectVxlanPeers,
  vxlanAnnotations,
  vxlanEntries,
  vxlanPeer,
} from "../support/kube/vxlan_peers.ts";
import type { PingStream } from "../support/ping_stream.ts";
import { eventually } from "../support/wait.ts";

const FAMILIES = [4, 6] as const;
const OUTAGE_MS = 30_000;
/** What peer 5 changes to. */
const CHANGED = { ipv4Mac: "02:00:00:00:04:99", ipv6: "2001:db8::99" };
/** Its entries and those of peer 4, which leaves, as `ip` and `bridge monitor` print them. */
const REMOVABLE = /10\.244\.[45]\.0|fd00:10:244:[45]::|02:00:00:0[46]:00:0[45] /;

let cluster: KubeCluster;
let one: KubeHost;
let two: KubeHost;
/** The kernel's entries of the first host without peers. */
let alone: string;

/** Two daemons whose workloads reach each other, and three peers. */
async function build(options: { args?: string[]; flags?: string[] } = {}): Promise<void> {
  const { args = [], flags = [] } = options;
  cluster = await KubeCluster.create({ hosts: 2, families: FAMILIES, args });
  [one, two] = [cluster.host(1), cluster.host(2)];
  await cluster.createNodes({ families: FAMILIES });
  cluster.configure(networkConfig(FAMILIES, { Type: "vxlan" }));
  one.startRelay();
  await one.up({ flags });
  await two.up();
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  alone = await one.kernel();
  await cluster.admin.createNodes([3, 4, 5].map(vxlanPeer));
  await expectVxlanPeers(one, alone, [3, 4, 5].flatMap((number) => vxlanEntries(number)));
}

async function dispose(): Promise<void> {
  await cluster?.[Symbol.asyncDispose]();
}

/** One node leaves, one changes, one joins. */
async function change(): Promise<void> {
  await cluster.admin.deleteNode("p4");
  await cluster.admin.annotate("p5", vxlanAnnotations(5, CHANGED));
  await cluster.admin.createNode(vxlanPeer(6));
}

async function expectChanged(): Promise<void> {
  const entries = [...vxlanEntries(3), ...vxlanEntries(5, CHANGED), ...vxlanEntries(6)];
  await expectVxlanPeers(one, alone, entries);
}

/** What the kernel of a host has removed since. */
async function watchRemovals(host: KubeHost): Promise<() => Promise<string[]>> {
  const file = `${host.directory}/removals-${crypto.randomUUID()}`;
  await host.sh(`ip -N monitor route neigh >>${file} 2>&1 & bridge monitor fdb >>${file} 2>&1 &`);
  return async () => {
    const log = await Bun.file(file).text();
    // NOARP: what the kernel itself has of multicast groups.
    return log.split("\n").filter((line) => /^Deleted .*flannel/.test(line))
      .filter((line) => !line.includes(" NOARP"));
  };
}

function pings(): PingStream[] {
  return FAMILIES.flatMap((family) => [one.ping(two, family), two.ping(one, family)]);
}

async function expectNoLoss(streams: readonly PingStream[]): Promise<void> {
  for (const ping of streams) expect((await ping.stop()).lost).toEqual([]);
}

describe("the API server", () => {
  beforeAll(() => build(), 240_000);
  afterAll(dispose, 60_000);

  test("is away for 30 s: no packet is lost, and what changed is applied", async () => {
    const { plane } = cluster;
    const streams = pings();
    const [kernel, removals] = [await one.kernel(), await watchRemovals(one)];
    const begunMs = performance.now();
    /** Until this time of the outage, the node is ready and its entries stay. */
    const isCalmUntil = async (ms: number) => {
      do {
        expect((await one.http("/readyz")).status).toBe(200);
        expect(await one.kernel()).toBe(kernel);
        await Bun.sleep(1500);
      } while (performance.now() - begunMs < ms);
    };
    await plane.killApiServer();
    await isCalmUntil(OUTAGE_MS / 2);
    // For the nodes, it is still away while things change.
    await plane.refuseNodes({ refused: true });
    await plane.startApiServer();
    await plane.ready();
    await change();
    await isCalmUntil(OUTAGE_MS);
    await plane.refuseNodes({ refused: false });
    await expectChanged();
    for (const { daemon } of [one, two]) {
      const failures = daemon.logLines(/following the nodes of the cluster failed/);
      expect(failures).toEqual([
        expect.stringContaining("the server closed the connection (ECONNRESET)"),
        expect.stringContaining("connection refused (ECONNREFUSED)"),
      ]);
      await eventually(
        "the end of the outage is logged",
        30_000,
        () =>
          daemon.logLines(/following the nodes of the cluster works again after \d+ failures in/)
            .length === 1,
      );
    }
    expect((await removals()).filter((line) => !REMOVABLE.test(line))).toEqual([]);
    await expectNoLoss(streams);
  }, 180_000);

  test("has its etcd replaced by a newer version: no packet is lost", async () => {
    const { plane, admin } = cluster;
    const version = async () => {
      return (await plane.etcd.call("maintenance/status", {}) as { version: string }).version;
    };
    expect(await version()).toMatch(/^3\.4\./);
    const streams = pings();
    const removals = await watchRemovals(one);
    await plane.upgradeEtcd();
    expect(await version()).toMatch(/^3\.6\./);
    await eventually("a node can be created", 60_000, async () => {
      await admin.createNode(vxlanPeer(7));
      return true;
    });
    const known = [...vxlanEntries(3), ...vxlanEntries(5, CHANGED), ...vxlanEntries(6)];
    await expectVxlanPeers(one, alone, [...known, ...vxlanEntries(7)]);
    expect(await removals()).toEqual([]);
    expect((await one.http("/readyz")).status).toBe(200);
    await expectNoLoss(streams);
  }, 180_000);
});

describe("changes that etcd has compacted", () => {
  // Without the API server's cache, its watches are those of etcd.
  beforeAll(() =>
    build({
      args: ["--watch-cache-sizes=nodes#0"],
      flags: [`--kube-api-url=${RELAY_URL}`, "-v=4"],
    }), 240_000);
  afterAll(dispose, 60_000);

  test("are read by a list, and nothing else is touched", async () => {
    const { plane } = cluster;
    const streams = pings();
    const removals = await watchRemovals(one);
    const lists = () => plane.calls().filter(({ verb }) => verb === "list").length;
    const listsBefore = lists();
    await one.stopRelay();
    await change();
    await compact();
    one.startRelay();
    await expectChanged();
    expect(one.daemon.logLines(/listing the nodes again.*410 Expired/)).toHaveLength(1);
    expect(lists()).toBe(listsBefore + 1);
    expect((await removals()).filter((line) => !REMOVABLE.test(line))).toEqual([]);
    expect((await one.http("/readyz")).status).toBe(200);
    await expectNoLoss(streams);
  }, 180_000);

  /** etcd forgets all changes up to now. */
  async function compact(): Promise<void> {
    const { etcd } = cluster.plane;
    const { header } = await etcd.call("kv/range", { key: btoa("/") }) as {
      header: { revision: string };
    };
    await etcd.call("kv/compaction", { revision: header.revision, physical: true });
  }
});
