/** The client against a real kube-apiserver: what it reads and writes, and how access changes. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import type { KubeApi, KubeNodeEvent } from "../../src/kube/kube_api.ts";
import type { KubeClient } from "../../src/kube/kube_client.ts";
import { KubeError, type KubeFailure } from "../../src/kube/kube_error.ts";
import { openKubeClient } from "../../src/kube/open_kube_client.ts";
import { kubeconfigText } from "../../src/lab/kube/kubeconfig_text.ts";
import { type CertificateFiles, TestCa } from "../support/certificates.ts";
import { collectingLog } from "../support/collecting_log.ts";
import type { ControlPlane } from "../support/kube/control_plane.ts";
import type { KubeAdmin } from "../support/kube/kube_admin.ts";
import { KubeCluster } from "../support/kube/kube_cluster.ts";
import { runProgram } from "../support/program.ts";
import type { PolicyRule } from "../support/kube/service_accounts.ts";
import { eventually } from "../support/wait.ts";

const NEVER = new AbortController().signal;
const TIMEOUT = 180_000;
/** More than one page. */
const NODES = 520;

let cluster: KubeCluster;
let plane: ControlPlane;
let admin: KubeAdmin;
let door: Server;
let apiUrl: string;

beforeAll(async () => {
  // Old revisions go within seconds, not minutes.
  cluster = await KubeCluster.create({ hosts: 0, args: ["--etcd-compaction-interval=2s"] });
  ({ plane, admin } = cluster);
  door = await openDoor(join(plane.directory, "api.sock"));
  apiUrl = `https://127.0.0.1:${(door.address() as { port: number }).port}`;
  await admin.createNodes(
    Array.from({ length: NODES }, (_, i) => ({
      name: nodeName(i),
      podCidrs: [`10.${i >> 8}.${i & 255}.0/24`],
      annotations: { index: String(i) },
    })),
  );
}, TIMEOUT);

afterAll(async () => {
  door?.close();
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

/** From an address of this namespace to the API server's. */
async function openDoor(socket: string): Promise<Server> {
  const server = createServer((near) => {
    const far = connect(socket);
    near.pipe(far).pipe(near);
    near.on("error", () => far.destroy()).on("close", () => far.destroy());
    far.on("error", () => near.destroy()).on("close", () => near.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

function nodeName(index: number): string {
  return `node-${String(index).padStart(3, "0")}`;
}

function openClient(kubeconfigFile: string = plane.flannel.kubeconfig): Promise<KubeClient> {
  const { log } = collectingLog();
  return openKubeClient({
    kubeconfigFile,
    apiUrl,
    environment: {},
    version: "v1",
    clock: systemClock,
    log,
  });
}

/** A kubeconfig with a user of its own, and its path. */
function writeKubeconfig(name: string, user: object): string {
  const path = join(plane.directory, `${name}.kubeconfig`);
  const cluster = { "certificate-authority": plane.ca.caFile };
  writeFileSync(path, kubeconfigText({ cluster, user }));
  return path;
}

/** The kind of failure of a call, or `ok`. */
async function outcome(call: Promise<unknown>): Promise<KubeFailure | "ok"> {
  try {
    await call;
    return "ok";
  } catch (error) {
    expect(error).toBeInstanceOf(KubeError);
    return (error as KubeError).kind;
  }
}

async function failureOf(call: Promise<unknown>): Promise<KubeError> {
  const error = await call.then(() => undefined, (reason) => reason);
  expect(error).toBeInstanceOf(KubeError);
  return error;
}

async function listVersion(client: KubeApi): Promise<string> {
  for await (const page of client.listNodes(NEVER)) return page.resourceVersion;
  throw new Error("the list has no page");
}

describe("nodes", () => {
  test("are listed at one resource version, with and without their spec", async () => {
    await using client = await openClient();
    const pages = await Array.fromAsync(client.listNodes(NEVER));
    expect(new Set(pages.map(({ resourceVersion }) => resourceVersion)).size).toBe(1);
    const nodes = pages.flatMap((page) => page.nodes);
    expect(nodes.map(({ name }) => name)).toEqual(
      Array.from({ length: NODES }, (_, i) => nodeName(i)),
    );
    expect(nodes[300]).toMatchObject({
      podCidrs: ["10.1.44.0/24"],
      annotations: { index: "300" },
      createdMs: Date.parse((await admin.node("node-300")).metadata.creationTimestamp),
    });
    const { conditions: _, ...node } = await client.node("node-300", NEVER);
    expect(node).toEqual(nodes[300] as never);

    const metadataPages = await Array.fromAsync(client.listNodeMetadata(NEVER));
    expect(metadataPages.map(({ nodes }) => nodes.length)).toEqual([500, NODES - 500]);
    const metadata = metadataPages.flatMap((page) => page.nodes);
    expect(metadata).toEqual(nodes.map(({ podCidrs: _, ...rest }) => rest));
  }, TIMEOUT);

  test("with leases are listed by flanneld leases", async () => {
    const annotations = {
      "flannel.alpha.coreos.com/kube-subnet-manager": "true",
      "flannel.alpha.coreos.com/backend-type": "vxlan",
      "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}',
      "flannel.alpha.coreos.com/public-ip": "192.0.2.1",
    };
    await admin.createNode({ name: "leased", podCidrs: ["10.9.1.0/24"], annotations });
    const netConf = join(plane.directory, "net-conf.json");
    writeFileSync(netConf, '{"Network": "10.8.0.0/16"}');
    const flags = [
      "--kube-subnet-mgr",
      `--kube-api-url=${apiUrl}`,
      `--kubeconfig-file=${plane.flannel.kubeconfig}`,
      `--net-config-path=${netConf}`,
    ];
    // The list is from the server's cache.
    await eventually("the node is listed", 30_000, async () => {
      return JSON.parse((await runProgram(["leases", "--json", ...flags])).out).leases.length > 0;
    });
    const { exitCode, out, err } = await runProgram(["leases", ...flags]);
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
    expect(out.trimEnd().split("\n").slice(1)).toEqual([
      "10.9.1.0/24  192.0.2.1  vxlan    node  -     leased  its subnet 10.9.1.0/24 is outside " +
      "the network 10.8.0.0/16",
    ]);
    await admin.deleteNode("leased");
  }, TIMEOUT);

  test("are listed as they were in another list, or newer", async () => {
    await using client = await openClient();
    await admin.annotate("node-007", { color: "green" });
    const [first] = await Array.fromAsync(client.listNodeMetadata(NEVER));
    const { resourceVersion: notOlderThan = "" } = first ?? {};
    const pages = await Array.fromAsync(client.listNodes(NEVER, { notOlderThan }));
    const nodes = pages.flatMap((page) => page.nodes);
    expect(nodes).toHaveLength(NODES);
    expect(nodes.find(({ name }) => name === "node-007")?.annotations["color"]).toBe("green");
    expect(Number(pages[0]?.resourceVersion)).toBeGreaterThanOrEqual(Number(notOlderThan));
  }, TIMEOUT);

  test("are watched from the list on", async () => {
    await using client = await openClient();
    const version = await listVersion(client);
    await admin.createNode({ name: "late" });
    await admin.annotate("late", { color: "blue" });
    await admin.deleteNode("late");
    const events: KubeNodeEvent[] = [];
    for await (const event of client.watchNodes(version, NEVER)) {
      events.push(event);
      if (event.kind === "delete") break;
    }
    const shown = events.map((event) =>
      event.kind === "bookmark"
        ? "bookmark"
        : `${event.kind} ${event.node.name} ${event.node.annotations["color"]}`
    );
    expect(shown).toEqual(["put late undefined", "put late blue", "delete late blue"]);
  }, TIMEOUT);

  test("that are watched until the API server is killed end the watch as unreachable", async () => {
    await using client = await openClient();
    const watch = Array.fromAsync(client.watchNodes(await listVersion(client), NEVER));
    const result = outcome(watch);
    await plane.killApiServer();
    expect(await result).toBe("unreachable");
    expect(await outcome(client.node("node-000", NEVER))).toBe("unreachable");
    await restartApiServer();
    expect(await outcome(client.node("node-000", NEVER))).toBe("ok");
  }, TIMEOUT);

  test("of a revision that is gone are expired, in a watch and within a list", async () => {
    await using client = await openClient();
    const watch = await failureOf(Array.fromAsync(client.watchNodes("1", NEVER)));
    expect({ ...watch }).toMatchObject({ kind: "expired", status: 410, reason: "Expired" });
    const list = client.listNodeMetadata(NEVER)[Symbol.asyncIterator]();
    expect((await list.next()).done).toBe(false);
    await compaction();
    // A running API server still has the rest of the list in its cache.
    await restartApiServer();
    const failure = await failureOf(list.next());
    expect({ ...failure }).toMatchObject({ kind: "expired", status: 410, reason: "Expired" });
  }, TIMEOUT);

  test("and pods that do not exist are not found", async () => {
    await using client = await openClient();
    const node = await failureOf(client.node("no-such-node", NEVER));
    expect({ ...node }).toMatchObject({ kind: "not-found", status: 404, reason: "NotFound" });
    expect(node.message).toBe(
      `cannot get node no-such-node (GET /api/v1/nodes/no-such-node at ${apiUrl}): ` +
        '404 NotFound: nodes "no-such-node" not found',
    );
    const pod = { namespace: "kube-flannel", pod: "none" };
    expect(await outcome(client.pod(pod, NEVER))).toBe("not-found");
    expect(await outcome(client.patchNodeStatus("no-such-node", {}, NEVER))).toBe("not-found");
  }, TIMEOUT);
});

async function restartApiServer(): Promise<void> {
  await plane.killApiServer();
  await plane.startApiServer();
  await plane.ready();
  await plane.waitUntilAllowed(plane.flannel);
}

/** Waits until etcd has dropped the revisions up to now. */
async function compaction(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await admin.annotate("node-519", { compaction: String(i) });
    await Bun.sleep(2500);
  }
}

describe("a patch", () => {
  test("changes annotations and one condition, and is ours in managedFields", async () => {
    await using client = await openClient();
    const time = "2026-01-31T12:00:00Z";
    const condition = (type: string, reason: string) => ({
      type,
      status: "False",
      reason,
      message: "m",
      lastHeartbeatTime: time,
      lastTransitionTime: time,
    });
    const before = await client.node("node-001", NEVER);
    const status = { conditions: [condition("MemoryPressure", "Other")] };
    await client.patchNodeStatus("node-001", { status }, NEVER);
    const node = await client.patchNodeStatus("node-001", {
      metadata: { uid: before.uid, annotations: { "x/a": "1", index: null } },
      status: { conditions: [condition("NetworkUnavailable", "FlannelIsUp")] },
    }, NEVER);
    expect(node.annotations).toMatchObject({ "x/a": "1" });
    expect(node.annotations).not.toHaveProperty("index");
    expect(node.podCidrs).toEqual(before.podCidrs);
    expect(node.conditions.map(({ type, reason }) => `${type} ${reason}`).sort())
      .toEqual(["MemoryPressure Other", "NetworkUnavailable FlannelIsUp"]);
    const ours = node.managedFields.find(({ annotations }) => annotations.includes("x/a"));
    expect(ours?.manager).toBe("flanneld");
    expect(ours?.timeMs).toBeGreaterThanOrEqual(before.createdMs);
  }, TIMEOUT);

  test("of a node with another uid is invalid", async () => {
    await using client = await openClient();
    const metadata = { uid: crypto.randomUUID(), annotations: { "x/a": "2" } };
    const failure = await failureOf(client.patchNodeStatus("node-002", { metadata }, NEVER));
    expect({ ...failure }).toMatchObject({ kind: "invalid", status: 422 });
    expect((await client.node("node-002", NEVER)).annotations).not.toHaveProperty("x/a");
  }, TIMEOUT);
});

test("the rules that the messages ask for are those that suffice", async () => {
  const account = await plane.createAccount("beggar", []);
  await using client = await openClient(account.kubeconfig);
  const version = await listVersion(await openClient());
  const calls = [
    (signal: AbortSignal) => client.node("node-003", signal),
    (signal: AbortSignal) => Array.fromAsync(client.listNodes(signal)),
    async (signal: AbortSignal) => {
      const watch = client.watchNodes(version, signal);
      await admin.annotate("node-003", { seen: crypto.randomUUID() });
      for await (const _ of watch) break;
    },
    (signal: AbortSignal) => client.patchNodeStatus("node-003", {}, signal),
    (signal: AbortSignal) => client.pod({ namespace: "kube-flannel", pod: "none" }, signal),
  ];
  const rules: PolicyRule[] = [];
  for (const call of calls) {
    const failure = await failureOf(call(NEVER));
    expect(failure.kind).toBe("forbidden");
    const [, yaml = ""] = /; add to the ClusterRole: (.*)$/.exec(failure.message) ?? [];
    rules.push(...Bun.YAML.parse(yaml) as PolicyRule[]);
    await account.allow(rules);
    await eventually("the call is permitted", 30_000, async () => {
      return ["ok", "not-found"].includes(await outcome(call(NEVER)));
    });
  }
  expect(rules.map(({ resources, verbs }) => `${resources} ${verbs}`)).toEqual([
    "nodes get",
    "nodes list",
    "nodes watch",
    "nodes/status patch",
    "pods get",
  ]);
}, TIMEOUT);

describe("access", () => {
  const isUp = (client: KubeClient) => outcome(client.node("node-000", NEVER));

  /** The API server remembers for ten seconds that a token was good. */
  const becomes = (client: KubeClient, expected: KubeFailure | "ok") =>
    eventually(`the outcome ${expected}`, 90_000, async () => await isUp(client) === expected);

  test("is refused when a token expires, and granted with the next one in its file", async () => {
    const account = plane.flannel;
    await using client = await openClient();
    account.writeToken(account.token(2));
    expect(await isUp(client)).toBe("ok");
    await becomes(client, "unauthorized");
    account.writeToken(account.token(600));
    expect(await isUp(client)).toBe("ok");
  }, TIMEOUT);

  test("by an exec plugin is renewed when the server refuses its token", async () => {
    const account = plane.flannel;
    const directory = join(plane.directory, "plugin");
    mkdirSync(directory);
    const print = (token: string) =>
      writeFileSync(
        join(directory, "credential"),
        JSON.stringify({
          apiVersion: "client.authentication.k8s.io/v1",
          kind: "ExecCredential",
          status: { token },
        }),
      );
    const plugin = join(directory, "plugin");
    const script = `#!/bin/sh\necho run >>${directory}/runs\ncat ${directory}/credential\n`;
    writeFileSync(plugin, script, { mode: 0o755 });
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: plugin,
      interactiveMode: "Never",
    };
    await using client = await openClient(writeKubeconfig("plugin", { exec }));
    const runs = () => readFileSync(join(directory, "runs"), "utf8").split("\n").length - 1;
    print(account.token(2));
    expect(await isUp(client)).toBe("ok");
    expect(await isUp(client)).toBe("ok");
    expect(runs()).toBe(1);
    print(account.token(600));
    const before = plane.refusedCalls().length;
    await eventually("the first token is refused", 90_000, async () => {
      expect(await isUp(client)).toBe("ok");
      return runs() === 2;
    });
    expect(plane.refusedCalls().length - before).toBe(1);
  }, TIMEOUT);

  test("by a client certificate changes with its files", async () => {
    using stranger = new TestCa("stranger");
    const files = { cert: join(plane.directory, "u.crt"), key: join(plane.directory, "u.key") };
    const install = ({ certFile, keyFile }: CertificateFiles) => {
      writeFileSync(files.cert, readFileSync(certFile));
      writeFileSync(files.key, readFileSync(keyFile));
    };
    install(plane.ca.sign("operator", [], "system:masters"));
    const user = { "client-certificate": files.cert, "client-key": files.key };
    await using client = await openClient(writeKubeconfig("certificate", user));
    expect(await isUp(client)).toBe("ok");
    install(stranger.sign("operator", [], "system:masters"));
    expect(await isUp(client)).toBe("unauthorized");
    install(plane.ca.sign("visitor"));
    expect(await isUp(client)).toBe("forbidden");
    install(plane.ca.sign("operator", [], "system:masters"));
    expect(await isUp(client)).toBe("ok");
  }, TIMEOUT);

  test("survives the replacement of the server's CA, as soon as the new one is known", async () => {
    using next = new TestCa("next");
    const account = plane.flannel;
    await using client = await openClient();
    const first = readFileSync(plane.ca.caFile, "utf8");
    expect(await isUp(client)).toBe("ok");
    await plane.killApiServer();
    plane.serveFrom(next);
    await plane.startApiServer();
    await eventually("the new certificate is served", 90_000, async () => {
      const failure = await failureOf(client.node("node-000", NEVER));
      return failure.message.includes("the server's certificate is not signed by a trusted CA");
    });
    account.writeCa(`${first}\n${readFileSync(next.caFile, "utf8")}`);
    await becomes(client, "ok");
  }, TIMEOUT);
});
