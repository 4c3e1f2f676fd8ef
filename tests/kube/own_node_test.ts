/** This node's Node: missing, without podCIDR, recreated, changed by others. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { KubeCluster, networkConfig } from "../support/kube/kube_cluster.ts";
import type { KubeHost } from "../support/kube/kube_host.ts";
import { eventually } from "../support/wait.ts";

let cluster: KubeCluster;
let one: KubeHost;

beforeAll(async () => {
  cluster = await KubeCluster.create({ hosts: 1, families: [4, 6] });
  one = cluster.host(1);
}, 180_000);

afterEach(async () => {
  await one.daemon.stop();
  await one.sh("for link in flannel.1 flannel-v6.1; do ip link del $link || true; done 2>&1");
  await one.sh(`rm -f ${one.subnetFile}`);
  await cluster.admin.deleteNode(one.name).catch(() => {});
}, 60_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

const VXLAN = networkConfig([4], { Type: "vxlan" });

test("waits for the Node and then for its podCIDR, and says which it waits for", async () => {
  one.configure(VXLAN);
  const daemon = one.start();
  await expectProblem(`node "h1" does not exist`);
  // Without any annotation, Go flannel panics.
  const created = await cluster.admin.createNode({ name: "h1", annotations: {} });
  expect(created.metadata.annotations).toBe(undefined);
  await expectProblem(`node "h1" pod cidr not assigned`);
  await cluster.admin.assignPodCidrs("h1", ["10.244.1.0/24"]);
  await one.ready();
  expect(one.subnetText()).toContain("FLANNEL_SUBNET=10.244.1.1/24\n");
  expect((await one.annotations())["kube-subnet-manager"]).toBe("true");
  for (const reason of ["does not exist", "pod cidr not assigned"]) {
    expect(daemon.logLines(new RegExp(reason))).toHaveLength(1);
  }
}, 60_000);

test("a podCIDR outside the network is reported in the words of Go flannel", async () => {
  one.configure(VXLAN);
  await cluster.admin.createNode({ name: "h1", podCidrs: ["10.99.1.0/24"] });
  const daemon = one.start();
  await eventually("the daemon reports it", 30_000, () =>
    daemon.log().includes(
      `subnet "10.244.0.0/16" specified in the flannel net config doesn't contain ` +
        `"10.99.1.0/24" PodCIDR of the "h1" node`,
    ));
}, 60_000);

test("a Node that is deleted and recreated gets its annotations again", async () => {
  one.configure(VXLAN);
  await cluster.createNodes();
  await one.up();
  const before = await one.annotations();
  const kernel = await one.kernel();
  await cluster.admin.deleteNode("h1");
  await cluster.createNodes();
  await eventually("the annotations are there again", 30_000, async () => {
    expect(await one.annotations()).toEqual(before);
    return true;
  });
  await eventually(
    "the condition is there again",
    30_000,
    async () =>
      (await cluster.admin.condition("h1", "NetworkUnavailable"))?.["reason"] === "FlannelIsUp",
  );
  expect(await one.kernel()).toBe(kernel);
  await one.ready();
}, 60_000);

test(
  "a Node that is recreated with another podCIDR ends the daemon; the next one takes it",
  async () => {
    one.configure(VXLAN);
    await cluster.createNodes();
    await one.up();
    const { daemon } = one;
    await cluster.admin.deleteNode("h1");
    await cluster.admin.createNode({ name: "h1", podCidrs: ["10.244.77.0/24"] });
    expect(await daemon.exited).toBe(1);
    expect(daemon.logLines(/this node has lost its subnet/)).toHaveLength(1);
    await one.up(); // As the kubelet starts a container again.
    expect(one.subnetText()).toContain("FLANNEL_SUBNET=10.244.77.1/24\n");
    expect((await one.annotations())["kube-subnet-manager"]).toBe("true");
  },
  90_000,
);

// Of a value, the API server knows the program that wrote it: here, the one that runs this test.
test.each([
  ["changed", "192.0.2.99", /"Bun" changed the annotation \S+ to "192.0.2.99" and 1 more of node/],
  ["removed", null, /another program removed the annotation \S+ and 1 more of node "h1"/],
])("own annotations that are %s are restored, and reported", async (_, value, report) => {
  one.configure(VXLAN);
  await cluster.createNodes();
  await one.up();
  const before = await one.annotations();
  await cluster.admin.annotateFlannel("h1", { "public-ip": value, "backend-data": value });
  await eventually("they are as before", 30_000, async () => {
    expect(await one.annotations()).toEqual(before);
    return true;
  });
  expect(one.daemon.logLines(/restoring/)).toEqual([expect.stringMatching(report)]);
}, 60_000);

test("annotations of others on this node are left alone", async () => {
  one.configure(VXLAN);
  await cluster.createNodes();
  await cluster.admin.annotate("h1", { "example.com/a": "1", "node.alpha.kubernetes.io/ttl": "0" });
  await one.up();
  await cluster.admin.annotate("h1", { "example.com/b": "2" });
  const { metadata: { annotations = {} } } = await cluster.admin.node("h1");
  expect(annotations).toMatchObject({
    "example.com/a": "1",
    "example.com/b": "2",
    "node.alpha.kubernetes.io/ttl": "0",
  });
}, 60_000);

test("prescribed public addresses are used and published", async () => {
  one.configure(networkConfig([4, 6], { Type: "vxlan" }));
  await cluster.createNodes({ families: [4, 6] });
  await cluster.admin.annotateFlannel("h1", {
    "public-ip-overwrite": "198.51.100.7",
    "public-ipv6-overwrite": "2001:db8:ffff::7",
  });
  await one.up();
  expect(await one.annotations()).toMatchObject({
    "public-ip": "198.51.100.7",
    "public-ipv6": "2001:db8:ffff::7",
  });
}, 60_000);

test("node-public-ip chooses the address like --public-ip", async () => {
  one.configure(VXLAN);
  await one.sh("ip link add name eth1 type veth peer name eth2 && ip link set eth2 up");
  await one.sh("ip address add 203.0.113.9/24 dev eth1 && ip link set eth1 up");
  await cluster.createNodes();
  await cluster.admin.annotateFlannel("h1", { "node-public-ip": "203.0.113.9" });
  await one.up();
  expect(await one.annotations()).toMatchObject({ "public-ip": "203.0.113.9" });
  expect(await one.sh("ip -d link show flannel.1")).toContain("local 203.0.113.9 dev eth1");
  await one.daemon.stop();
  await one.sh("ip link del eth1");
}, 60_000);

test("a lost device is created again with the MAC of the annotation", async () => {
  one.configure(VXLAN);
  await cluster.createNodes();
  await one.up();
  const before = await one.annotations();
  await one.daemon.stop();
  await one.sh("ip link del flannel.1");
  await one.up();
  expect(await one.annotations()).toEqual(before);
}, 60_000);

test("a missing net-conf.json is waited for", async () => {
  await one.sh(`rm -f ${one.configFile}`);
  await cluster.createNodes();
  one.start();
  await expectProblem("failed to read net conf");
  one.configure(VXLAN);
  await one.ready();
}, 60_000);

test("a ConfigMap that changes is reported, with what a restart would do", async () => {
  // As the kubelet mounts it: a link to a directory that it replaces.
  const mount = join(one.directory, "kube-flannel");
  mkdirSync(mount, { recursive: true });
  const publish = (version: string, config: object) => {
    mkdirSync(join(mount, version));
    writeFileSync(join(mount, version, "net-conf.json"), JSON.stringify(config));
    symlinkSync(version, join(mount, "..data.new"));
    renameSync(join(mount, "..data.new"), join(mount, "..data"));
  };
  publish("..1", VXLAN);
  symlinkSync("..data/net-conf.json", join(mount, "net-conf.json"));
  await cluster.createNodes();
  await one.up({ flags: [`--net-config-path=${join(mount, "net-conf.json")}`] });
  publish("..2", networkConfig([4], { Type: "vxlan", VNI: 7 }));
  await eventually(
    "the change is reported",
    30_000,
    () => one.daemon.log().includes("the network configuration changed; restart flanneld to apply"),
  );
  publish("..3", { Network: "10.244.0.0" });
  await eventually(
    "the invalid one is reported",
    30_000,
    () => one.daemon.log().includes("the network configuration changed and is invalid"),
  );
}, 90_000);

/** Waits until the log and `/readyz` contain this problem. */
async function expectProblem(text: string): Promise<void> {
  await eventually(`it reports ${text}`, 30_000, async () => {
    const { status, body } = await one.http("/readyz");
    expect(one.daemon.log()).toContain(text);
    expect(body).toContain(text);
    return status === 503;
  });
}
