/** Pods on two hosts, connected by cnitool, flannel and the containernetworking plugins. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { Cluster } from "../support/cluster.ts";
import { addressOf, CniNode } from "../support/cni_node.ts";
import { eventually } from "../support/wait.ts";

const CONFIG = {
  Network: "10.5.0.0/16",
  EnableIPv6: true,
  IPv6Network: "fd00:5::/48",
  Backend: { Type: "vxlan" },
};

let cluster: Cluster;
let nodes: readonly [CniNode, CniNode];
let pods = 0;

beforeAll(async () => {
  cluster = await Cluster.create({ hosts: 2, families: [4, 6] });
  await cluster.configure(CONFIG);
  await cluster.startAll({ flags: ["--ip-masq"] });
  nodes = [await CniNode.create(cluster.host(1)), await CniNode.create(cluster.host(2))];
}, 120_000);

afterEach(() => {
  for (const node of nodes) {
    node.configure({});
    node.clear();
  }
});

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

const newPod = (node: CniNode) => node.pod(`p${++pods}`);

describe.each(["0.3.1", "0.4.0", "1.0.0", "1.1.0"])("CNI %s", (cniVersion) => {
  test("pods of two hosts reach each other, and leave nothing", async () => {
    for (const node of nodes) node.configure({ cniVersion });
    const [a, b] = [await newPod(nodes[0]), await newPod(nodes[1])];
    const [resultA, resultB] = [await a.add(), await b.add()];
    expect(resultA.cniVersion).toBe(cniVersion);
    for (const family of [4, 6] as const) {
      const [subnet, address] = [
        cluster.host(1).subnet().subnets[family],
        addressOf(resultA, family),
      ];
      expect(address).toStartWith((subnet as string).replace(/(0|:)\/.*/, ""));
      await a.ping(addressOf(resultB, family));
      await b.ping(address);
    }
    expect(await a.sh("cat /sys/class/net/eth0/mtu")).toBe("1430\n");
    if (cniVersion !== "0.3.1") await a.check();
    expect(nodes[0].state()).toEqual({
      pods: 1,
      addresses: [addressOf(resultA, 4), addressOf(resultA, 6)].sort(),
    });
    for (const pod of [a, b]) await pod.delete();
    for (const node of nodes) expect(node.state()).toEqual({ pods: 0, addresses: [] });
    await a.delete();
  }, 60_000);
});

test("CHECK notices a pod that has lost its address", async () => {
  const pod = await newPod(nodes[0]);
  const result = await pod.add();
  await pod.check();
  await pod.sh(`ip address del ${addressOf(result, 4)}/24 dev eth0`);
  await expect(pod.check()).rejects.toThrow(
    `Failed to match addr ${addressOf(result, 4)}/24 on interface eth0`,
  );
  await pod.delete();
}, 60_000);

test("a host port leads to the pod", async () => {
  const pod = await newPod(nodes[0]);
  const args = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] };
  await pod.add(args);
  const server = Bun.spawn(
    ["ip", "netns", "exec", pod.namespace, "python3", "-m", "http.server", "80"],
    { cwd: "/proc/self/net", stdout: "ignore", stderr: "ignore" },
  );
  try {
    const address = cluster.host(1).address(4);
    await eventually("the port answers", 30_000, async () => {
      const script = `curl -s -m 5 -o /dev/null -w '%{http_code}' http://${address}:8080/ || true`;
      return await cluster.host(2).sh(script) === "200";
    });
  } finally {
    server.kill("SIGKILL");
    await server.exited;
  }
  await pod.delete(args);
  await expect(cluster.host(2).sh(`curl -s -m 2 http://${cluster.host(1).address(4)}:8080/`))
    .rejects.toThrow();
}, 60_000);

test("a pod is deleted after the daemon has ended, and without its subnet file", async () => {
  const host = cluster.host(2);
  const [a, b] = [await newPod(nodes[0]), await newPod(nodes[1])];
  await a.add();
  const address = addressOf(await b.add(), 4);
  await host.daemon.stop();
  await a.ping(address);
  await host.up({ flags: ["--ip-masq"] });
  await a.ping(address);
  await b.check();
  await host.daemon.stop();
  rmSync(host.subnetFile);
  await b.delete();
  expect(nodes[1].state()).toEqual({ pods: 0, addresses: [] });
  await expect(b.add()).rejects.toThrow(
    "loadFlannelSubnetEnv failed: open /run/flannel/subnet.env: no such file or directory",
  );
  expect(nodes[1].state()).toEqual({ pods: 0, addresses: [] });
  nodes[1].configure({ cniVersion: "1.1.0" });
  await expect(nodes[1].cnitool("status", b.namespace)).rejects.toThrow(
    "loadFlannelSubnetEnv failed: open /run/flannel/subnet.env: no such file or directory",
  );
  await host.up({ flags: ["--ip-masq"] });
  expect(await nodes[1].cnitool("status", b.namespace)).toBe("");
  await a.delete();
}, 120_000);

test("twenty pods at once get twenty addresses, and leave nothing", async () => {
  const [node] = nodes;
  const all = await Promise.all(Array.from({ length: 20 }, () => newPod(node)));
  const results = await Promise.all(all.map((pod) => pod.add()));
  expect(new Set(results.map((result) => addressOf(result, 4))).size).toBe(20);
  expect(new Set(results.map((result) => addressOf(result, 6))).size).toBe(20);
  expect(node.state()).toMatchObject({ pods: 20 });
  await all[0]?.ping(addressOf(results[19] ?? {}, 4));
  await Promise.all(all.map((pod) => pod.delete()));
  expect(node.state()).toEqual({ pods: 0, addresses: [] });
}, 120_000);

test("GC releases the addresses of pods that the runtime does not know", async () => {
  const [node] = nodes;
  const pod = await newPod(node);
  const attach = (containerId: string) =>
    node.plugin({
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: containerId,
      CNI_NETNS: `/run/netns/${pod.namespace}`,
      CNI_IFNAME: `net${containerId}`,
    }, { cniVersion: "1.1.0" });
  await attach("1");
  const kept = addressOf(JSON.parse(await attach("2")), 4);
  expect(node.state().addresses).toHaveLength(4);
  await node.plugin({ CNI_COMMAND: "GC" }, {
    cniVersion: "1.1.0",
    "cni.dev/valid-attachments": [{ containerID: "2", ifname: "net2" }],
  });
  expect(node.state().pods).toBe(1);
  expect(node.state().addresses).toContain(kept);
  expect(node.state().addresses).toHaveLength(2);
  // cnitool asks for GC without a list, after a DEL of what it knows itself.
  node.configure({ cniVersion: "1.1.0" });
  const known = await newPod(node);
  await known.add();
  await node.cnitool("gc", known.namespace);
  expect(node.state().pods).toBe(1);
  await node.plugin({ CNI_COMMAND: "GC" }, {
    cniVersion: "1.1.0",
    "cni.dev/valid-attachments": [],
  });
  expect(node.state()).toEqual({ pods: 0, addresses: [] });
}, 60_000);

test("a configuration without a version gets a result of the first version", async () => {
  const [node] = nodes;
  const pod = await newPod(node);
  const environment = {
    CNI_CONTAINERID: "old",
    CNI_NETNS: `/run/netns/${pod.namespace}`,
    CNI_IFNAME: "eth0",
  };
  const result = JSON.parse(await node.plugin({ CNI_COMMAND: "ADD", ...environment }, {}));
  expect(result.ip4.ip).toEndWith("/24");
  await node.plugin({ CNI_COMMAND: "DEL", ...environment }, {});
  expect(node.state()).toEqual({ pods: 0, addresses: [] });
}, 60_000);

test("an error of the delegate arrives as the delegate prints it", async () => {
  const [node] = nodes;
  const pod = await newPod(node);
  node.configure({ flannel: { delegate: { type: "bridge", bridge: "not/a/name" } } });
  await expect(pod.add()).rejects.toThrow(/plugin type="flannel" failed \(add\): .*not\/a\/name/);
  await pod.delete();
  expect(node.state()).toEqual({ pods: 0, addresses: [] });
}, 60_000);
