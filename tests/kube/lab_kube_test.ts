/** `flanneld lab --kube` as a user runs it: a real API server, real CNI plugins. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addPod } from "../../src/lab/kube/pod_network.ts";
import { planTopology } from "../../src/lab/topology.ts";
import { ipBatch } from "../../src/lab/namespace.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { cniPrograms } from "../support/cni_node.ts";
import { FLANNELD } from "../support/host.ts";
import { kubeApiServer } from "../support/kube/control_plane.ts";
import { KubeAdmin } from "../support/kube/kube_admin.ts";
import { FLANNEL_RULES } from "../support/kube/service_accounts.ts";
import { eventually } from "../support/wait.ts";

/** Labs of this test only: `lab down` sees no others. */
const directory = mkdtempSync(join(tmpdir(), "lab-kube-test-"));
const programs = mkdtempSync(join(tmpdir(), "lab-kube-test-"));
const env = { PATH: process.env["PATH"], TMPDIR: directory };
let flags: readonly string[];

beforeAll(async () => {
  flags = [`--kube-apiserver=${await kubeApiServer()}`, `--cni-bin-dir=${await cniPrograms()}`];
}, 1_200_000);

afterAll(() => {
  for (const one of [directory, programs]) rmSync(one, { recursive: true, force: true });
});

const lab = (...args: string[]) =>
  runProgram(FLANNELD, ["lab", ...args], { env, timeoutMs: 170_000 });

/** Directories and namespaces of the labs of this test. */
function remains(): string[] {
  return [...readdirSync(directory), ...readdirSync("/run/netns")];
}

test("a dual-stack lab is a cluster of nodes whose pods reach each other", async () => {
  const result = await lab("--kube", ...flags, "--hosts=2", "--ipv6", "--keep", "--json");
  expect(result.stderr).toContain("starting the datastore\nstarting kube-apiserver\n");
  const report = JSON.parse(result.stdout);
  expect(report.ok).toBe(true);
  expect(report.pings).toHaveLength(4);
  const files = join(directory, report.lab);

  const admin = administrator(join(files, "control-plane"));
  for (const [index, host] of report.hosts.entries()) {
    const number = index + 1;
    const subnets = { ipv4: `10.244.${number}.0/24`, ipv6: `fd00:10:244:${number}::/64` };
    expect(host.subnets).toEqual(subnets);
    const node = await admin.node(host.name);
    expect(node.spec.podCIDRs).toEqual(Object.values(subnets));
    expect(await admin.flannelAnnotations(host.name)).toMatchObject({
      "backend-type": "vxlan",
      "kube-subnet-manager": "true",
      "public-ip": host.publicAddresses.ipv4,
      "public-ipv6": host.publicAddresses.ipv6,
    });
    expect((await admin.condition(host.name, "NetworkUnavailable"))?.["reason"])
      .toBe("FlannelIsUp");
    const pod = await admin.call("GET", `${POD}-${host.name}`) as { spec: { nodeName: string } };
    expect(pod.spec.nodeName).toBe(host.name);
    expect(readFileSync(join(files, host.name, "flanneld.log"), "utf8"))
      .toContain(": --kube-subnet-mgr=true ");
    // Attached by `flannel`, which has saved what it delegated, and host-local.
    expect(readdirSync(join(files, host.name, "cni/flannel"))).toHaveLength(1);
    expect(readdirSync(join(files, host.name, "cni/networks/cbr0")))
      .toEqual(expect.arrayContaining([`10.244.${number}.2`, `fd00:10:244:${number}::2`]));
  }
  const role = await admin.call("GET", ROLE) as { rules: unknown };
  expect(role.rules).toEqual([...FLANNEL_RULES]);

  expect((await lab("down", report.lab)).exitCode).toBe(0);
  expect(remains()).toEqual([]);
}, 180_000);

test("an IPv4 lab runs with a real etcd and another backend, and is removed", async () => {
  const result = await lab("--kube", ...flags, "--hosts=2", "--etcd", "--backend=host-gw");
  expect(result.stderr).toContain("starting etcd\nstarting kube-apiserver\n");
  expect(result.stdout).toContain("IPv4: 2 of 2 pings at full MTU succeeded");
  expect(result.exitCode).toBe(0);
  expect(remains()).toEqual([]);
}, 180_000);

test("Ctrl-C removes a lab whose API server is starting", async () => {
  const command = [FLANNELD, "lab", "--kube", ...flags, "--hosts=1"];
  const child = Bun.spawn(command, { env, stdout: "ignore", stderr: "pipe" });
  let progress = "";
  const read = (async () => {
    for await (const bytes of child.stderr) progress += new TextDecoder().decode(bytes);
  })();
  await eventually("it starts", 60_000, () => progress.includes("starting kube-apiserver"));
  child.kill("SIGINT");
  expect(await child.exited).toBe(130);
  await read;
  expect(remains()).toEqual([]);
}, 120_000);

test("an API server that ends is reported with the end of its log", async () => {
  const server = script("kube-apiserver", "echo 'no such flag' >&2; exit 3");
  const result = await lab("--kube", ...flags, `--kube-apiserver=${server}`, "--hosts=1");
  expect(result.exitCode).toBe(1);
  expect(result.stderr).toContain(
    "flanneld lab: kube-apiserver exited with status 3; end of its log:\nno such flag\n",
  );
  expect(remains()).toEqual([]);
}, 120_000);

test("missing programs are named, each with what to do", async () => {
  const empty = mkdtempSync(join(programs, "empty-"));
  const missing = await lab(
    "--kube",
    `--kube-apiserver=${empty}/kube-apiserver`,
    `--cni-bin-dir=${empty}`,
  );
  expect(missing.exitCode).toBe(1);
  expect(missing.stderr).toBe(
    `flanneld lab: --kube-apiserver is ${empty}/kube-apiserver, which is not a program; ` +
      "download it from https://kubernetes.io/releases/download/\n" +
      `flanneld lab: CNI plugins bridge, host-local, loopback, portmap not found in ${empty}; ` +
      "install them with: apt-get install containernetworking-plugins; or name their directory " +
      "with --cni-bin-dir\n",
  );
  expect(remains()).toEqual([]);
}, 60_000);

test("the error of a CNI plugin is reported with its name", async () => {
  script("loopback", `echo '{ "code": 7, "msg": "no lo" }'; exit 1`);
  const [host] = planTopology({ prefix: "k", hostSegments: [0], families: [4] }).hosts;
  if (host === undefined) throw new Error("the topology has no host");
  const namespaces = [host.namespace, host.workloadNamespace];
  await ipBatch(namespaces.map((name) => `netns add ${name}`));
  try {
    await expect(addPod({
      host,
      stateDirectory: programs,
      subnetFile: "",
      path: [programs],
      conflist: { name: "cbr0", cniVersion: "0.3.1", plugins: [] },
      signal: new AbortController().signal,
    })).rejects.toThrow(
      'the CNI plugin loopback of h1 failed with status 1: { "code": 7, "msg": "no lo" }',
    );
  } finally {
    await ipBatch(namespaces.map((name) => `netns del ${name}`));
  }
}, 60_000);

const POD = "/api/v1/namespaces/kube-flannel/pods/kube-flannel-ds";
const ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/flannel";

/** The administrator of a kept lab, by its kubeconfig. */
function administrator(plane: string): KubeAdmin {
  const { clusters, users } = JSON.parse(readFileSync(join(plane, "kubeconfig"), "utf8"));
  const { server, "certificate-authority": caFile } = clusters[0].cluster;
  return new KubeAdmin({
    url: server,
    socket: join(plane, "api.sock"),
    tls: { ca: readFileSync(caFile, "utf8") },
    token: users[0].user.token,
  });
}

/** The path of a program with this shell text. */
function script(name: string, text: string): string {
  const path = join(programs, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return path;
}
