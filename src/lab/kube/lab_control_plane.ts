/**
 * A Kubernetes control plane in a namespace: kube-apiserver over the lab's store. There is no
 * controller manager, no scheduler and no kubelet; the lab does what the network needs of them.
 *
 * No program for certificates is needed: kube-apiserver makes its own certificate, its CA included,
 * and the administrator has a static token.
 */

import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { familiesOf, valuesOf } from "../../addr/family.ts";
import { type IpAddress, urlHost } from "../../addr/ip.ts";
import type { DetachedProcess } from "../../process/detached_process.ts";
import { requireProgram } from "../../process/program_lookup.ts";
import type { LabContext } from "../lab_options.ts";
import { logEnd } from "../log_end.ts";
import { spawnInNamespace } from "../namespace.ts";
import { poll } from "../poll.ts";
import type { Station } from "../topology.ts";
import type { TopologyRecord } from "../topology_record.ts";
import { API_PORT, ISSUER, SERVICE_RANGES } from "./api_server_settings.ts";
import { KubeAdminApi } from "./kube_admin_api.ts";
import { kubeconfigText } from "./kubeconfig_text.ts";

export interface ControlPlaneOptions {
  readonly record: TopologyRecord;
  readonly station: Station;
  /** Of the store. */
  readonly endpoints: string;
  /** Name or path of kube-apiserver. */
  readonly apiServer: string;
  /** The command that starts flanneld. */
  readonly flanneld: readonly string[];
}

export interface LabControlPlane {
  /** Of the API server, in the namespaces of the lab. */
  readonly url: string;
  /** The CA of its certificate (PEM). */
  readonly caFile: string;
  /** Such as v1.37.2. */
  readonly version: string;
  readonly admin: KubeAdminApi;
}

/** 5 to 15 s, more on a busy machine. */
const READY_TIMEOUT_MS = 120_000;

/** Starts it and waits until it serves. Throws with the end of its log if it does not. */
export async function startControlPlane(
  options: ControlPlaneOptions,
  context: LabContext,
): Promise<LabControlPlane> {
  const plan = planControlPlane(options);
  mkdirSync(join(plan.directory, "run"), { recursive: true, mode: 0o700 });
  writeSecrets(plan);
  writeKubeconfig(plan);
  const { record, flanneld } = options;
  const server = startProgram("kube-apiserver", plan, [
    requireProgram(options.apiServer),
    ...apiServerFlags(plan, options),
  ]);
  record.addProcess(server.pid, "SIGKILL"); // after SIGTERM it waits for its watches
  const relayCommand = [...flanneld, "lab", "relay", plan.socket, plan.address, String(API_PORT)];
  record.addProcess(startProgram("relay", plan, relayCommand).pid);
  await waitUntilServing(server, plan, context);
  const admin = connect(plan, context.signal);
  const { gitVersion } = await admin.get("/version") as { gitVersion: string };
  return { url: plan.url, caFile: plan.caFile, version: gitVersion, admin };
}

interface ControlPlanePlan {
  readonly namespace: string;
  readonly directory: string;
  readonly address: IpAddress;
  readonly url: string;
  readonly caFile: string;
  /** Of the relay. */
  readonly socket: string;
  /** The administrator's. */
  readonly token: string;
}

function planControlPlane({ record, station }: ControlPlaneOptions): ControlPlanePlan {
  const directory = join(record.directory, "control-plane");
  const [address] = valuesOf(station.addresses);
  if (address === undefined) throw new Error("the control plane has no address");
  return {
    namespace: station.namespace,
    directory,
    address,
    url: `https://${urlHost(address)}:${API_PORT}`,
    caFile: join(directory, "apiserver.crt"),
    socket: join(directory, "api.sock"),
    token: crypto.getRandomValues(new Uint8Array(32)).toHex(),
  };
}

function connect({ url, socket, caFile, token }: ControlPlanePlan, signal: AbortSignal) {
  const tls = { ca: readFileSync(caFile, "utf8") };
  return new KubeAdminApi({ url, socket, tls, token, signal });
}

async function waitUntilServing(
  server: DetachedProcess,
  plan: ControlPlanePlan,
  { clock, signal }: LabContext,
): Promise<void> {
  let exitCode: number | undefined;
  void server.exited.then((code) => exitCode = code);
  let cause: unknown;
  const isDone = async () => {
    if (exitCode !== undefined) return true;
    // Written at the start, not atomically: an error means that it is too early.
    if (!existsSync(plan.caFile)) return false;
    try {
      return await connect(plan, signal).get("/readyz") === "ok";
    } catch (error) {
      cause = error;
      return false;
    }
  };
  const options = { clock, intervalMs: 50, timeoutMs: READY_TIMEOUT_MS, signal };
  const isReady = await poll(isDone, options);
  if (isReady && exitCode === undefined) return;
  const what = exitCode === undefined
    ? `is not ready after ${READY_TIMEOUT_MS / 1000} s`
    : `exited with status ${exitCode}`;
  const log = logEnd(join(plan.directory, "kube-apiserver.log"));
  throw new Error(`kube-apiserver ${what}; end of its log:\n${log}`, { cause });
}

function startProgram(
  name: string,
  { namespace, directory }: ControlPlanePlan,
  command: readonly string[],
): DetachedProcess {
  return spawnInNamespace(namespace, {
    runDirectory: join(directory, "run"),
    logFile: join(directory, `${name}.log`),
    command,
    workingDirectory: directory,
  });
}

/** The keys that sign the tokens of service accounts, and the administrator's token. */
function writeSecrets({ directory, token }: ControlPlanePlan): void {
  const write = (name: string, content: string) =>
    writeFileSync(join(directory, name), content, { mode: 0o600 });
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  write("service-accounts.key", privateKey.export({ type: "pkcs8", format: "pem" }).toString());
  write("service-accounts.pub", publicKey.export({ type: "spki", format: "pem" }).toString());
  write("tokens.csv", `${token},admin,admin,system:masters\n`);
}

function apiServerFlags(
  { directory, address }: ControlPlanePlan,
  { station, endpoints }: ControlPlaneOptions,
): string[] {
  const families = familiesOf(station.addresses);
  const file = (name: string) => join(directory, name);
  return [
    `--etcd-servers=${endpoints}`,
    `--bind-address=${families.includes(6) ? "::" : "0.0.0.0"}`,
    `--secure-port=${API_PORT}`,
    `--advertise-address=${address}`,
    `--cert-dir=${directory}`, // apiserver.crt and apiserver.key
    `--token-auth-file=${file("tokens.csv")}`,
    `--service-account-issuer=${ISSUER}`,
    `--service-account-key-file=${file("service-accounts.pub")}`,
    `--service-account-signing-key-file=${file("service-accounts.key")}`,
    "--authorization-mode=RBAC",
    `--service-cluster-ip-range=${families.map((family) => SERVICE_RANGES[family]).join()}`,
  ];
}

/** For kubectl, in the namespace of a kept lab. */
function writeKubeconfig({ directory, url, caFile, token }: ControlPlanePlan): void {
  const cluster = { server: url, "certificate-authority": caFile };
  const text = kubeconfigText({ cluster, user: { token } });
  writeFileSync(join(directory, "kubeconfig"), text, { mode: 0o600 });
}
