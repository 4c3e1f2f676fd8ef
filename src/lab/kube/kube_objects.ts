/**
 * Creates the objects of a cluster, as kubectl, the kubelets and the controller manager would, and
 * waits for what the daemons write.
 */

import { valuesOf } from "../../addr/family.ts";
import { podCidrs } from "../lab_network.ts";
import type { LabContext, LabOptions } from "../lab_options.ts";
import { mapParallel } from "../map_parallel.ts";
import { poll } from "../poll.ts";
import type { LabHost } from "../topology.ts";
import { mayUseNodes } from "./api_server_call.ts";
import type { KubeAdminApi } from "./kube_admin_api.ts";
import type { KubeObject, LabManifest } from "./lab_manifest.ts";

/** Calls at once. */
const PARALLEL = 8;
const PERMISSION_TIMEOUT_MS = 30_000;
const NODES_TIMEOUT_MS = 30_000;
/** A kept lab may stay for long, and nothing renews the token. */
const TOKEN_SECONDS = 365 * 24 * 3600;

export interface KubeObjectOptions {
  readonly admin: KubeAdminApi;
  readonly manifest: LabManifest;
  readonly hosts: readonly LabHost[];
  readonly lab: LabOptions;
}

/**
 * Creates the objects of the manifest, the nodes, and the daemons' pods, and returns a token of the
 * daemons' account, which has its permissions by then.
 */
export async function createObjects(
  { admin, manifest, hosts, lab }: KubeObjectOptions,
  context: LabContext,
): Promise<string> {
  for (const object of manifest.objects) await admin.create(object);
  await mapParallel(hosts, PARALLEL, async (host) => {
    await admin.create(nodeObject(host, lab));
    await admin.create(manifest.daemonPod(host));
  });
  const { namespace, name } = manifest.account;
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
  const token = await admin.post(path, {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    spec: { expirationSeconds: TOKEN_SECONDS },
  }) as { status: { token: string } };
  await waitForPermission(`system:serviceaccount:${namespace}:${name}`, admin, context);
  return token.status.token;
}

/** Waits until each daemon has cleared the condition of its node that keeps pods away. */
export async function waitForNodes(
  admin: KubeAdminApi,
  hosts: readonly LabHost[],
  { clock, signal }: LabContext,
): Promise<void> {
  let waiting: readonly string[] = [];
  const areReady = async () => {
    const { items } = await admin.get("/api/v1/nodes") as { items: readonly NodeStatus[] };
    const ready = new Set(items.filter(hasNetwork).map(({ metadata }) => metadata.name));
    waiting = hosts.map(({ name }) => name).filter((name) => !ready.has(name));
    return waiting.length === 0;
  };
  const options = { clock, intervalMs: 50, timeoutMs: NODES_TIMEOUT_MS, signal };
  if (await poll(areReady, options)) return;
  throw new Error(
    `the condition NetworkUnavailable of ${waiting.join(", ")} is not False after ` +
      `${NODES_TIMEOUT_MS / 1000} s; see the logs of their daemons with --keep`,
  );
}

interface NodeStatus {
  readonly metadata: { readonly name: string };
  readonly status: { readonly conditions?: readonly { type: string; status: string }[] };
}

function hasNetwork({ status: { conditions = [] } }: NodeStatus): boolean {
  return conditions.some(({ type, status }) => type === "NetworkUnavailable" && status === "False");
}

/** A Node as its kubelet creates it, with the pod CIDRs that the controller manager assigns. */
export function nodeObject({ name }: LabHost, lab: LabOptions): KubeObject {
  const cidrs = valuesOf(podCidrs(Number(name.slice(1)), lab));
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name,
      labels: { "kubernetes.io/os": "linux", "kubernetes.io/hostname": name },
    },
    spec: { podCIDR: cidrs[0], podCIDRs: cidrs },
  };
}

async function waitForPermission(
  user: string,
  admin: KubeAdminApi,
  { clock, signal }: LabContext,
): Promise<void> {
  const isAllowed = () =>
    mayUseNodes({ user, verb: "list" }, (path, body) => admin.post(path, body));
  const options = { clock, intervalMs: 50, timeoutMs: PERMISSION_TIMEOUT_MS, signal };
  if (await poll(isAllowed, options)) return;
  throw new Error(`${user} may not list nodes after ${PERMISSION_TIMEOUT_MS / 1000} s`);
}
