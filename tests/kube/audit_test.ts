/**
 * Every call that a daemon makes, from the API server's audit log: at its start, for each change,
 * and while nothing changes.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { callLines } from "../support/kube/call_text.ts";
import { API_PORT } from "../../src/lab/kube/api_server_settings.ts";
import { FLANNEL_PREFIX } from "../support/kube/kube_admin.ts";
import { KubeCluster, networkConfig } from "../support/kube/kube_cluster.ts";
import type { KubeHost, KubeStartOptions } from "../support/kube/kube_host.ts";
import { eventually } from "../support/wait.ts";

const CALLS_MS = 20_000;
const TIMEOUT_MS = 120_000;
/** A watch gets a bookmark each minute. */
const IDLE_MS = 63_000;

const GET_POD = "get namespaces/kube-flannel/pods/kube-flannel-ds-h1";
const GET_NODE = "get nodes/h1";
const LIST = "list nodes?limit=500&resourceVersion=0";
const WATCH = "watch nodes?allowWatchBookmarks=true&resourceVersion=VERSION" +
  "&timeoutSeconds=SECONDS&watch=true";
const PATCH = "patch nodes/h1/status?fieldManager=flanneld";
const CONDITION = [
  PATCH,
  "  status:",
  "    conditions:",
  "      - type: NetworkUnavailable",
  '        status: "False"',
  "        lastHeartbeatTime: TIME",
  "        lastTransitionTime: TIME",
  "        reason: FlannelIsUp",
  "        message: Flannel is running on this node",
];

/** With a new Node. Words in capitals stand for what differs in each run. */
const START = [
  GET_NODE,
  PATCH,
  "  metadata:",
  "    uid: UID",
  "    annotations:",
  '      flannel.alpha.coreos.com/kube-subnet-manager: "true"',
  "      flannel.alpha.coreos.com/backend-type: vxlan",
  `      flannel.alpha.coreos.com/backend-data: '{"VNI":1,"VtepMAC":"MAC4"}'`,
  "      flannel.alpha.coreos.com/public-ip: 192.0.2.1",
  `      flannel.alpha.coreos.com/backend-v6-data: '{"VNI":1,"VtepMAC":"MAC6"}'`,
  "      flannel.alpha.coreos.com/public-ipv6: 2001:db8::1",
  LIST,
  ...CONDITION,
  WATCH,
];

let cluster: KubeCluster;
let host: KubeHost;
/** How many of the daemon's calls were expected so far. */
let expected = 0;

beforeAll(async () => {
  cluster = await KubeCluster.create({ hosts: 1, families: [4, 6] });
  host = cluster.host(1);
  host.configure(networkConfig([4, 6], { Type: "vxlan" }));
  await host.createPod();
}, 240_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

describe("a start", () => {
  test("publishes what the Node lacks, lists the nodes once, and follows them", async () => {
    await cluster.createNodes({ families: [4, 6] });
    await host.up();
    await expectCalls(START, await nodeValues());
  }, TIMEOUT_MS);

  test("after a stop writes only the condition, as Go flannel does", async () => {
    await restart();
    await expectCalls([GET_NODE, LIST, ...CONDITION, WATCH]);
  }, TIMEOUT_MS);

  test("with POD_NAME and POD_NAMESPACE reads the pod first", async () => {
    await restart({ nodeName: null, env: host.podVariables });
    await expectCalls([GET_POD, GET_NODE, LIST, ...CONDITION, WATCH]);
  }, TIMEOUT_MS);

  test("reads a Node without pod CIDRs again and again, and writes nothing to it", async () => {
    await host.daemon.stop();
    await cluster.deleteNodes();
    await cluster.admin.createNode({ name: "h1" });
    host.start();
    await eventually("it has been read twice", CALLS_MS, () => newLines().length >= 2);
    const lines = newLines();
    expect(new Set(lines)).toEqual(new Set([GET_NODE]));
    await cluster.admin.assignPodCidrs("h1", ["10.244.1.0/24", "fd00:10:244:1::/64"]);
    await host.ready();
    expected += newLines().lastIndexOf(GET_NODE);
    await expectCalls(START, await nodeValues());
  }, TIMEOUT_MS);
});

describe("a change", () => {
  test("of a new node makes one call, when its daemon has written its annotations", async () => {
    const { admin } = cluster;
    await admin.createNode({ name: "p2" });
    await admin.assignPodCidrs("p2", ["10.244.2.0/24", "fd00:10:244:2::/64"]);
    await heartbeat("p2");
    await admin.annotate("p2", peerAnnotations(2));
    await expectCalls(["get nodes/p2"]);
  }, TIMEOUT_MS);

  test("that concerns no lease makes no call", async () => {
    const { admin } = cluster;
    await heartbeat("p2");
    await heartbeat("h1");
    await admin.annotate("h1", { "example.com/other": "1" });
    await admin.annotate("p2", peerAnnotations(22));
    await admin.deleteNode("p2");
    await passEvents(3);
    await expectCalls(["get nodes/p3"]);
  }, TIMEOUT_MS);

  test("of a node without pod CIDRs makes calls until it has them", async () => {
    const { admin } = cluster;
    await admin.createNode({ name: "p4", annotations: peerAnnotations(4) });
    await eventually("it has been read", CALLS_MS, () => newLines().length >= 1);
    await admin.assignPodCidrs("p4", ["10.244.4.0/24", "fd00:10:244:4::/64"]);
    await eventually(
      "it has its route",
      CALLS_MS,
      async () => (await host.kernel()).includes("route 10.244.4.0/24"),
    );
    const lines = newLines();
    expect(new Set(lines)).toEqual(new Set(["get nodes/p4"]));
    expect(lines.length).toBeLessThanOrEqual(4);
    expected += lines.length;
  }, TIMEOUT_MS);

  test("of this node's annotations makes one patch of what has changed", async () => {
    await cluster.admin.annotateFlannel("h1", { "public-ip": null, "backend-type": "udp" });
    await expectCalls([
      GET_NODE,
      PATCH,
      "  metadata:",
      "    uid: UID",
      "    annotations:",
      "      flannel.alpha.coreos.com/backend-type: vxlan",
      "      flannel.alpha.coreos.com/public-ip: 192.0.2.1",
    ], await nodeValues());
  }, TIMEOUT_MS);
});

test("a minute without changes makes no call: bookmarks alone keep the watch", async () => {
  await host.sh(`nft -f - <<END
    table inet watched {
      counter data {}
      chain input {
        type filter hook input priority 0
        tcp sport ${API_PORT} tcp flags & psh == psh counter name data
      }
    }
END`);
  await Bun.sleep(IDLE_MS);
  const counter = await host.sh("nft list counter inet watched data");
  await host.sh("nft delete table inet watched");
  await expectCalls([]);
  expect(Number(/packets (\d+)/.exec(counter)?.[1])).toBeGreaterThanOrEqual(1);
  await host.ready();
  // And the watch still delivers.
  await passEvents(5);
  await expectCalls(["get nodes/p5"]);
}, TIMEOUT_MS);

test("with the backend alloc no other node is read", async () => {
  host.configure(networkConfig([4, 6], { Type: "alloc" }));
  await restart({ flags: ["--set-node-network-unavailable=false"] });
  await expectCalls([
    GET_NODE,
    PATCH,
    "  metadata:",
    "    uid: UID",
    "    annotations:",
    '      flannel.alpha.coreos.com/backend-type: ""',
    '      flannel.alpha.coreos.com/backend-data: "null"',
    GET_NODE,
    `${WATCH}&fieldSelector=metadata.name=h1`,
  ], await nodeValues());
}, TIMEOUT_MS);

async function restart(options: KubeStartOptions = {}): Promise<void> {
  await host.daemon.stop();
  await host.up(options);
}

/** Creates a node: when it has been read, so have all events before. */
async function passEvents(number: number): Promise<void> {
  const podCidrs = [`10.244.${number}.0/24`, `fd00:10:244:${number}::/64`];
  const annotations = peerAnnotations(number);
  await cluster.admin.createNode({ name: `p${number}`, podCidrs, annotations });
}

function peerAnnotations(number: number): Record<string, string> {
  const data = (family: number) => `{"VNI":1,"VtepMAC":"02:00:00:00:0${family}:${10 + number}"}`;
  return {
    [`${FLANNEL_PREFIX}backend-data`]: data(4),
    [`${FLANNEL_PREFIX}backend-type`]: "vxlan",
    [`${FLANNEL_PREFIX}backend-v6-data`]: data(6),
    [`${FLANNEL_PREFIX}kube-subnet-manager`]: "true",
    [`${FLANNEL_PREFIX}public-ip`]: `192.0.2.${number}`,
    [`${FLANNEL_PREFIX}public-ipv6`]: `2001:db8::${number}`,
  };
}

/** What a kubelet writes every few seconds or minutes. */
async function heartbeat(name: string): Promise<void> {
  const lastHeartbeatTime = new Date().toISOString().replace(/\.\d+/, "");
  const condition = { type: "Ready", status: "True", reason: "KubeletReady", lastHeartbeatTime };
  await cluster.admin.call(
    "PATCH",
    `/api/v1/nodes/${name}/status`,
    { status: { conditions: [condition] } },
    "application/strategic-merge-patch+json",
  );
}

/**
 * Waits until the calls since those that were expected before are exactly these, with words in
 * capitals as `callLines` writes them.
 */
async function expectCalls(lines: readonly string[], values: Values = {}): Promise<void> {
  try {
    await eventually("the calls are those of the test", CALLS_MS, () => {
      expect(newLines(values)).toEqual([...lines]);
      return true;
    });
  } finally {
    expected = cluster.plane.calls().length;
  }
}

function newLines(values: Values = {}): string[] {
  return callLines(cluster.plane.calls().slice(expected), values);
}

type Values = Readonly<Record<string, string>>;

/** The UID of this node, and the MAC addresses of its devices. */
async function nodeValues(): Promise<Values> {
  const { metadata: { uid } } = await cluster.admin.node(host.name);
  const mac = async (device: string) =>
    (await host.sh(`cat /sys/class/net/${device}/address`)).trim();
  return { UID: uid, MAC4: await mac("flannel.1"), MAC6: await mac("flannel-v6.1") };
}
