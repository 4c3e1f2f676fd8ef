/** A running daemon uses new tokens, CAs and client certificates, replaced in time or too late. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { kubeconfigText } from "../../src/lab/kube/kubeconfig_text.ts";
import { type CertificateFiles, TestCa } from "../support/certificates.ts";
import type { AuditedCall } from "../support/kube/audit_log.ts";
import type { ControlPlane } from "../support/kube/control_plane.ts";
import { KubeCluster, networkConfig } from "../support/kube/kube_cluster.ts";
import { type KubeHost, RELAY_URL } from "../support/kube/kube_host.ts";
import type { ServiceAccount } from "../support/kube/service_accounts.ts";
import { expectVxlanPeers, vxlanEntries, vxlanPeer } from "../support/kube/vxlan_peers.ts";
import { eventually } from "../support/wait.ts";

const FAMILIES = [4, 6] as const;
const TIMEOUT_MS = 180_000;
const WAIT_MS = 60_000;

let cluster: KubeCluster;
let plane: ControlPlane;
let account: ServiceAccount;
let one: KubeHost;
/** What the daemon finds in a pod, with its service account. */
let podEnvironment: Readonly<Record<string, string>>;
/** The kernel's entries without peers. */
let alone: string;
/** Peers that have been created so far. */
let peers: number[] = [];

beforeAll(async () => {
  cluster = await KubeCluster.create({ hosts: 1, families: FAMILIES });
  ({ plane } = cluster);
  account = plane.flannel;
  one = cluster.host(1);
  await cluster.createNodes({ families: FAMILIES });
  cluster.configure(networkConfig(FAMILIES, { Type: "vxlan" }));
  one.startRelay();
  podEnvironment = one.mountServiceAccount(account, RELAY_URL);
}, TIMEOUT_MS);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

/** Starts the daemon as in a pod. */
async function startInPod(): Promise<void> {
  await one.up({
    store: ["--kube-subnet-mgr", `--net-config-path=${one.configFile}`],
    env: podEnvironment,
  });
  alone ??= await one.kernel();
}

/** The daemon opens its watch again, with the credentials of now. */
async function cutConnections(): Promise<void> {
  await one.stopRelay();
  one.startRelay();
}

/** The daemon's calls that were answered with 401 so far. */
function refusals(): AuditedCall[] {
  return plane.refusedCalls().filter(({ userAgent }) => userAgent.startsWith("flanneld/"));
}

/** Another program changes this node's annotation: the daemon reads its Node, and writes it. */
async function changeAnnotation(): Promise<void> {
  await cluster.admin.annotateFlannel("h1", { "public-ip": "192.0.2.99" });
}

async function isRestored(): Promise<void> {
  await eventually("this node's annotation is restored", WAIT_MS, async () => {
    return (await one.annotations())["public-ip"] === one.address(4);
  });
}

/** A node joins. */
async function addPeer(): Promise<void> {
  const number = 2 + peers.length;
  await cluster.admin.createNode(vxlanPeer(number));
  peers = [...peers, number];
}

/** The nodes that have joined are in the kernel, and nothing else has changed there. */
async function followsPeers(): Promise<void> {
  await expectVxlanPeers(one, alone, peers.flatMap((number) => vxlanEntries(number)));
}

/** Waits until the API server refuses a token: it remembers a good one for ten seconds. */
async function expiry(token: string): Promise<void> {
  const bearer = cluster.admin.as(token);
  await eventually("the token has expired", WAIT_MS, async () => {
    const failure = await bearer.call("GET", "/api/v1/nodes/h1").then(() => "", String);
    if (failure === "") await Bun.sleep(1000);
    return failure.includes("401");
  });
}

/** Waits for a line of the daemon's log. */
async function logged(line: RegExp): Promise<void> {
  await eventually(`the log has ${line}`, WAIT_MS, () => {
    if (one.daemon.logLines(line).length > 0) return true;
    throw new Error(`it ends:\n${one.daemon.logEnd()}`);
  });
}

test("a token that is replaced before it expires: no call is refused", async () => {
  const first = account.token(20);
  account.writeToken(first);
  await startInPod();
  const refusedBefore = refusals().length;
  await changeAnnotation();
  await isRestored();
  account.writeToken(account.token(3600));
  await expiry(first);
  await cutConnections();
  await addPeer();
  await followsPeers();
  await changeAnnotation();
  await isRestored();
  expect(refusals().slice(refusedBefore)).toEqual([]);
  expect(one.daemon.logLines(/\b401 Unauthorized/)).toEqual([]);
}, TIMEOUT_MS);

test("a token that expires: reported, nothing is touched, and the next one is used", async () => {
  const short = account.token(1);
  account.writeToken(short);
  await expiry(short);
  await changeAnnotation();
  await logged(/checking this node's annotations failed: .*: 401 Unauthorized.*; check the token/);
  await cutConnections();
  await eventually("/readyz says why", WAIT_MS, async () => {
    const { status, body } = await one.http("/readyz");
    return status === 503 && /following the nodes of the cluster: .*401 Unauthorized/.test(body);
  });
  const joined = peers;
  await addPeer();
  await expectVxlanPeers(one, alone, joined.flatMap((number) => vxlanEntries(number)));
  account.writeToken(account.token(3600));
  await isRestored();
  await followsPeers();
  await one.ready();
  expect(one.daemon.logLines(/failed: .*401 Unauthorized/)).toHaveLength(2);
  expect(refusals().length).toBeGreaterThan(0);
}, TIMEOUT_MS);

test("a new CA whose certificate the node has before the API server uses it", async () => {
  using next = new TestCa("next", plane.directory);
  account.writeCa(readFileSync(plane.ca.caFile, "utf8") + readFileSync(next.caFile, "utf8"));
  await restartApiServer(next);
  await addPeer();
  await followsPeers();
  expect(one.daemon.logLines(/not signed by a trusted CA/)).toEqual([]);
}, TIMEOUT_MS);

test("a new CA whose certificate the node gets later: reported, and then used", async () => {
  // After several outages, a daemon does not log each of the next ones at once.
  await one.daemon.stop();
  await startInPod();
  using next = new TestCa("late", plane.directory);
  await restartApiServer(next);
  await logged(/following the nodes of the cluster failed: .*not signed by a trusted CA; check/);
  await addPeer();
  expect((await one.http("/readyz")).status).toBe(200);
  account.writeCa(readFileSync(next.caFile, "utf8"));
  await followsPeers();
  await logged(/following the nodes of the cluster works again/);
  // Once. Other calls may have failed, such as the last one of the start.
  const reported = one.daemon.logLines(
    /following the nodes .* failed: .*not signed by a trusted CA/,
  );
  expect(reported).toHaveLength(1);
  expect((await one.daemon.stop()).code).toBe(0);
}, TIMEOUT_MS);

test("a client certificate that is replaced: the next call uses the new one", async () => {
  using stranger = new TestCa("stranger", plane.directory);
  const [certFile, keyFile] = [join(one.directory, "user.crt"), join(one.directory, "user.key")];
  const install = (files: CertificateFiles) => {
    writeFileSync(keyFile, readFileSync(files.keyFile));
    writeFileSync(certFile, readFileSync(files.certFile));
  };
  // To the API server, this is the service account.
  const sign = (ca: TestCa) => install(ca.sign(account.user, [], "system:serviceaccounts"));
  sign(plane.ca);
  const kubeconfig = join(one.directory, "kubeconfig");
  writeFileSync(kubeconfig, certificateKubeconfig({ certFile, keyFile }));
  await one.up({
    store: [
      ...["--kube-subnet-mgr", `--kubeconfig-file=${kubeconfig}`],
      `--net-config-path=${one.configFile}`,
    ],
  });
  sign(plane.ca);
  await cutConnections();
  await changeAnnotation();
  await isRestored();
  expect(one.daemon.logLines(/\b401 Unauthorized/)).toEqual([]);
  sign(stranger);
  await changeAnnotation();
  await logged(/checking this node's annotations failed: .*401 Unauthorized.*client certificate/);
  sign(plane.ca);
  await isRestored();
  await addPeer();
  await followsPeers();
}, TIMEOUT_MS);

async function restartApiServer(ca: TestCa): Promise<void> {
  await plane.killApiServer();
  plane.serveFrom(ca);
  await plane.startApiServer();
  await plane.ready();
  await plane.waitUntilAllowed(account);
}

function certificateKubeconfig({ certFile, keyFile }: CertificateFiles): string {
  return kubeconfigText({
    cluster: {
      server: RELAY_URL,
      "certificate-authority": join(account.directory, "ca.crt"),
    },
    user: { "client-certificate": certFile, "client-key": keyFile },
  });
}
