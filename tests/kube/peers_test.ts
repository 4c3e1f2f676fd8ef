/** One daemon and the nodes of others, which the test writes: each change reaches the kernel. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { KubeCluster, networkConfig } from "../support/kube/kube_cluster.ts";
import { FLANNEL_PREFIX } from "../support/kube/kube_admin.ts";
import {
  expectVxlanPeers,
  vxlanAnnotations as annotations,
  vxlanEntries as entries,
  vxlanPeer as peer,
} from "../support/kube/vxlan_peers.ts";
import { eventually, throughout } from "../support/wait.ts";

let cluster: KubeCluster;
/** The kernel's entries without any peer. */
let alone: string;

beforeAll(async () => {
  cluster = await KubeCluster.create({ hosts: 1, families: [4, 6] });
  await cluster.createNodes({ families: [4, 6] });
  cluster.configure(networkConfig([4, 6], { Type: "vxlan" }));
  await cluster.startAll();
  alone = await cluster.host(1).kernel();
}, 180_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

test("a node that joins gets its entries, and none is left when it leaves", async () => {
  await cluster.admin.createNode(peer(2));
  await expectPeers(entries(2));
  await cluster.admin.deleteNode("p2");
  await expectPeers();
}, 60_000);

test("a node with another MAC keeps no entry of the old one", async () => {
  await cluster.admin.createNode(peer(3));
  await expectPeers(entries(3));
  const changed = { ipv4Mac: "02:00:00:00:04:99", ipv6Mac: "02:00:00:00:06:99" };
  await cluster.admin.annotate("p3", annotations(3, changed));
  await expectPeers(entries(3, changed));
  await cluster.admin.deleteNode("p3");
  await expectPeers();
}, 60_000);

test("a change of one family only is followed too", async () => {
  await cluster.admin.createNode(peer(4));
  await expectPeers(entries(4));
  const changed = { ipv6Mac: "02:00:00:00:06:aa" };
  await cluster.admin.annotate("p4", annotations(4, changed));
  await expectPeers(entries(4, changed));
  const moved = { ...changed, ipv4: "192.0.2.144" };
  await cluster.admin.annotate("p4", annotations(4, moved));
  await expectPeers(entries(4, moved));
  await cluster.admin.deleteNode("p4");
  await expectPeers();
}, 60_000);

test('a node counts only while kube-subnet-manager is "true"', async () => {
  await cluster.admin.createNode(peer(5));
  await expectPeers(entries(5));
  for (const value of ["false", "True", "", null]) {
    await cluster.admin.annotateFlannel("p5", { "kube-subnet-manager": value });
    await expectPeers();
    await cluster.admin.annotateFlannel("p5", { "kube-subnet-manager": "true" });
    await expectPeers(entries(5));
  }
  await cluster.admin.deleteNode("p5");
  await expectPeers();
}, 60_000);

test("a node without a podCIDR gets its entries when it has one", async () => {
  await cluster.admin.createNode({ ...peer(6), podCidrs: [] });
  const one = cluster.host(1);
  await throughout("there is no entry", 500, async () => await one.kernel() === alone);
  await cluster.admin.assignPodCidrs("p6", peer(6).podCidrs ?? []);
  await expectPeers(entries(6));
  await cluster.admin.deleteNode("p6");
  await expectPeers();
}, 60_000);

test("a node that is recreated with other podCIDRs keeps no entry of the old ones", async () => {
  await cluster.admin.createNode(peer(7));
  await expectPeers(entries(7));
  await cluster.admin.deleteNode("p7");
  await cluster.admin.createNode({ ...peer(7), podCidrs: peer(8).podCidrs ?? [] });
  await expectPeers(entries(7, { subnet: 8 }));
  await cluster.admin.deleteNode("p7");
  await expectPeers();
}, 60_000);

test("a node whose annotations cannot be used has no entries, and is reported once", async () => {
  const one = cluster.host(1);
  const data = `${FLANNEL_PREFIX}backend-data`;
  const unusable: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    "bad-json": { [data]: "{" },
    "no-mac": { [data]: '{"VNI":1,"VtepMAC":"no MAC"}' },
    "no-v6-address": { [`${FLANNEL_PREFIX}public-ipv6`]: "2001:db8::zz" },
    "other-backend": { [`${FLANNEL_PREFIX}backend-type`]: "host-gw" },
  };
  const names = Object.keys(unusable);
  await cluster.admin.createNodes(names.map((name, index) => {
    const node = peer(20 + index);
    return { ...node, name, annotations: { ...node.annotations, ...unusable[name] } };
  }));
  // After them: when it is there, they have been read.
  await cluster.admin.createNode(peer(9));
  await expectPeers(entries(9));
  for (let heartbeat = 0; heartbeat < 3; heartbeat++) {
    for (const name of names) await cluster.admin.annotate(name, { heartbeat: `${heartbeat}` });
  }
  await cluster.admin.deleteNode("p9");
  await expectPeers();
  for (const name of names) {
    expect(one.daemon.logLines(new RegExp(`node/${name}:`))).toHaveLength(1);
  }
  await Promise.all(names.map((name) => cluster.admin.deleteNode(name)));
}, 60_000);

test("500 nodes that join and leave at once leave the kernel as it was", async () => {
  const peers = Array.from({ length: 500 }, (_, index) => peer(1000 + index));
  await cluster.admin.createNodes(peers);
  const one = cluster.host(1);
  await eventually("all routes are there", 60_000, async () => {
    const routes = (await one.kernel()).match(/^route .* via .* dev flannel.1 /gm) ?? [];
    return routes.length === peers.length;
  });
  await Promise.all(peers.map(({ name }) => cluster.admin.deleteNode(name)));
  await expectPeers();
}, 180_000);

async function expectPeers(wanted: readonly string[] = []): Promise<void> {
  await expectVxlanPeers(cluster.host(1), alone, wanted);
}
