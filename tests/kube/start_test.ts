/** What a node waits for at its start, and says; how the operator changes what it advertises. */

import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { KubeHost } from "../support/kube/kube_host.ts";
import { KubeCluster, networkConfig } from "../support/kube/kube_cluster.ts";
import { eventually } from "../support/wait.ts";

const CONFIG = JSON.stringify(networkConfig([4], { Type: "vxlan" }));
const TIMEOUT_MS = 120_000;

let cluster: KubeCluster;
let host: KubeHost;

beforeAll(async () => {
  cluster = await KubeCluster.create({ hosts: 1 });
  host = cluster.host(1);
}, 240_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

beforeEach(async () => {
  rmSync(host.configFile, { force: true });
  rmSync(host.subnetFile, { force: true });
  await cluster.deleteNodes().catch(() => {});
  await cluster.createNodes();
}, TIMEOUT_MS);

/** The ConfigMap's next version, as the kubelet mounts it. */
function mountConfig(version: string, text: string): void {
  const directory = dirname(host.configFile);
  mkdirSync(join(directory, `..${version}`));
  writeFileSync(join(directory, `..${version}`, "net-conf.json"), text);
  symlinkSync(`..${version}`, join(directory, "..data_tmp"));
  renameSync(join(directory, "..data_tmp"), join(directory, "..data"));
}

async function readyzSays(text: string): Promise<void> {
  await eventually(`/readyz says "${text}"`, 20_000, async () => {
    const { status, body } = await host.http("/readyz");
    return status === 503 && body.includes(text);
  });
}

test(
  "a missing configuration, then an invalid one is waited for, in Go flannel's words",
  async () => {
    const daemon = host.start();
    const missing = `failed to read net conf: open ${host.configFile}: no such file or directory`;
    await readyzSays(missing);
    expect(daemon.logLines(/failed to read net conf/)).toHaveLength(1);
    mountConfig("invalid", CONFIG.replace("10.244.0.0/16", "10.244.0.0"));
    symlinkSync("..data/net-conf.json", host.configFile);
    await readyzSays(`error parsing subnet config: Network in ${host.configFile} is "10.244.0.0"`);
    expect(daemon.logLines(/error parsing subnet config/)).toHaveLength(1);
    mountConfig("valid", CONFIG);
    await host.ready();
    expect(host.subnet().subnets).toEqual({ 4: "10.244.1.0/24" } as object);

    mountConfig("changed", CONFIG.replace("vxlan", "host-gw"));
    await eventually(
      "the change is reported",
      5_000,
      () =>
        daemon.logLines(/the network configuration changed; restart flanneld to apply it/)
          .length ===
          1,
    );
    mountConfig("broken", "{");
    await eventually(
      "the invalid change is reported",
      5_000,
      () => daemon.logLines(/configuration changed and is invalid/).length === 1,
    );
    expect((await host.http("/readyz")).status).toBe(200);
    expect((await daemon.stop()).code).toBe(0);
  },
  TIMEOUT_MS,
);

test("the node's annotation chooses the address and the interface, not --public-ip", async () => {
  writeFileSync(host.configFile, CONFIG);
  await host.sh(
    "ip link add second type veth peer name other; ip addr add 192.0.2.77/24 dev second; " +
      "ip link set second up; ip link set other up",
  );
  await cluster.admin.annotateFlannel(host.name, { "node-public-ip": "192.0.2.77" });
  const daemon = await host.up({ flags: ["--public-ip=198.51.100.7"] });
  expect(daemon.logLines(/using interface second \(it has the address 192\.0\.2\.77 of annotation/))
    .toHaveLength(1);
  expect(await host.annotations()).toMatchObject({ "public-ip": "192.0.2.77" });
  await daemon.stop();

  await cluster.admin.annotateFlannel(host.name, { "node-public-ip": "127.0.0.1" });
  const refused = host.start();
  expect(await refused.exitCode()).toBe(1);
  expect(refused.logEnd()).toContain(
    'annotation flannel.alpha.coreos.com/node-public-ip of node "h1" 127.0.0.1 is a loopback ' +
      "address: the other nodes cannot send to it",
  );
}, TIMEOUT_MS);

// From Canal's DaemonSet in Calico's manifest, and with all that RKE2's chart adds to it.
test("starts with the flags and variables of Canal's container, some of them empty", async () => {
  writeFileSync(host.configFile, CONFIG);
  await host.sh("ip link del flannel.1 2>&1 || true"); // of another test
  await host.createPod();
  const daemon = await host.up({
    nodeName: null,
    flags: ["--ip-masq", "--iptables-forward-rules=false", "--ip-blackhole-route"],
    env: {
      ...host.podVariables,
      FLANNELD_IFACE: "",
      FLANNELD_IFACE_REGEX: "",
      FLANNELD_IP_MASQ: "true",
    },
  });
  expect(await host.sh("ip route show type blackhole")).toContain("10.244.1.0/24");
  expect(await host.annotations()).toMatchObject({ "kube-subnet-manager": "true" });
  expect(daemon.logLines(/^[WE]/)).toEqual([]);
  expect((await daemon.stop()).code).toBe(0);
}, TIMEOUT_MS);

test("annotations have the names of the prefix", async () => {
  writeFileSync(host.configFile, CONFIG);
  const daemon = await host.up({ flags: ["--kube-annotation-prefix=example.com/pods"] });
  const { metadata } = await cluster.admin.node(host.name);
  const names = Object.keys(metadata.annotations ?? {}).filter((name) => /flannel|pods/.test(name));
  expect(names.sort()).toEqual([
    "example.com/pods-backend-data",
    "example.com/pods-backend-type",
    "example.com/pods-kube-subnet-manager",
    "example.com/pods-public-ip",
  ]);
  await daemon.stop();
}, TIMEOUT_MS);

test.each<[string, { flags?: string[]; env?: Record<string, string> }, string]>([
  [
    "EVENT_QUEUE_DEPTH=x",
    { env: { EVENT_QUEUE_DEPTH: "x" } },
    "env EVENT_QUEUE_DEPTH=x format error: it must be an integer",
  ],
  [
    "a prefix with two slashes",
    { flags: ["--kube-annotation-prefix=a.b/c/d"] },
    '--kube-annotation-prefix is "a.b/c/d", which contains more than one slash',
  ],
  [
    "a prefix without a domain",
    { flags: ["--kube-annotation-prefix=flannel"] },
    '--kube-annotation-prefix is "flannel", which is not in the format fqdn/[0-9a-z-_]*',
  ],
])("%s ends the start with one line", async (_what, options, line) => {
  const daemon = host.start(options);
  expect(await daemon.exitCode()).toBe(1);
  expect(daemon.logEnd().split("\n").at(-1)).toContain(line);
}, TIMEOUT_MS);

test(
  "without NODE_NAME, POD_NAME and POD_NAMESPACE, the start ends in Go flannel's words",
  async () => {
    const daemon = host.start({ nodeName: null });
    expect(await daemon.exitCode()).toBe(1);
    expect(daemon.logEnd()).toContain("env variables POD_NAME and POD_NAMESPACE must be set");
  },
  TIMEOUT_MS,
);
