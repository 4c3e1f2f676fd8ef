/** The manifest and the chart against a real API server, which checks each field of each object. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { KubeObject } from "../../src/lab/kube/lab_manifest.ts";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { kubeconfigText } from "../../src/lab/kube/kubeconfig_text.ts";
import { CHART, helmProgram } from "../support/helm.ts";
import { KubeCluster } from "../support/kube/kube_cluster.ts";
import { IMAGE_PLACEHOLDER, manifestObjects, podSpec } from "../support/kube_manifest.ts";
import { runProgram } from "../../src/process/run_program.ts";

let cluster: KubeCluster;

beforeAll(async () => {
  cluster = await KubeCluster.create({ hosts: 0 });
}, 180_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
}, 60_000);

describe("the manifest", () => {
  test.each(manifestObjects().map((object): [string, KubeObject] => [object.kind, object]))(
    "%s is accepted",
    async (_kind, object) => {
      const applied = await apply(object, { dryRun: true });
      expect(applied.metadata.name).toBe(object.metadata.name);
    },
    60_000,
  );

  test("a field that Kubernetes does not have would be refused", async () => {
    const objects = manifestObjects();
    const set = objects.find(({ kind }) => kind === "DaemonSet") as KubeObject;
    const misspelt = JSON.parse(JSON.stringify(set).replace("readOnlyRoot", "readonlyRoot"));
    await expect(apply(misspelt, { dryRun: true })).rejects.toThrow(
      /readonlyRootFilesystem: field not declared in schema/,
    );
  }, 60_000);

  test("a pod of the DaemonSet is admitted in its namespace", async () => {
    for (const object of manifestObjects()) await apply(object);
    const pod = await createPod("kube-flannel");
    expect(pod.spec).toMatchObject({ priority: 2_000_001_000, serviceAccountName: "flannel" });
    const token = "/var/run/secrets/kubernetes.io/serviceaccount";
    expect(podMounts(pod)).toEqual([
      ["install-cni-plugin", ["/opt/cni/bin", token]],
      ["install-cni", ["/etc/cni/net.d", "/etc/kube-flannel/", token]],
      ["kube-flannel", ["/run/flannel", "/etc/kube-flannel/", "/run/xtables.lock", token]],
    ]);
  }, 60_000);

  test("a namespace without the label of the manifest could refuse it", async () => {
    const namespace = {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "baseline", labels: { [`${POD_SECURITY}/enforce`]: "baseline" } },
    };
    await apply(namespace);
    const account = manifestObjects().find(({ kind }) => kind === "ServiceAccount") as KubeObject;
    await apply({ ...account, metadata: { ...account.metadata, namespace: "baseline" } });
    await expect(createPod("baseline")).rejects.toThrow(/violates PodSecurity .*hostNetwork/);
  }, 60_000);
});

describe("the chart", () => {
  const release = ["flannel", CHART, "--namespace=kube-flannel", "--set"];
  const image = `flannel.image.repository=${IMAGE_PLACEHOLDER}`;

  test("names the networks and what it ignores in the notes", async () => {
    const values = `${image},podCidr=,podCidrv6=fd00:10:244::/48,flannel.backend=host-gw`;
    const ignored = ",flannel.vni=7,flannel.psk=x,flannel.mtu=0";
    const dryRun = ["install", "--dry-run=server", "--take-ownership", ...release];
    const notes = await helm(...dryRun, values);
    expect(notes).toContain("pod network fd00:10:244::/48 (IPv6 only, because podCidr is empty).");
    expect(notes).not.toContain("WARNING");
    expect(await helm(...dryRun, values + ignored))
      .toContain("ignores them: flannel.psk, flannel.vni\n");
  }, 60_000);

  test("takes over what the manifest has created, changes it and removes it", async () => {
    await expect(helm("install", ...release, image)).rejects.toThrow(/cannot be imported/);
    await helm("install", "--take-ownership", ...release, image);
    expect(JSON.parse(await netConf()).Backend).toEqual({ Type: "vxlan" });

    await helm("upgrade", ...release, `${image},flannel.backend=wireguard,flannel.tunnelMode=auto`);
    expect(JSON.parse(await netConf()).Backend).toEqual({ Type: "wireguard", Mode: "auto" });

    await helm("rollback", "flannel", "--namespace=kube-flannel");
    expect(JSON.parse(await netConf()).Backend).toEqual({ Type: "vxlan" });

    await helm("uninstall", "flannel", "--namespace=kube-flannel");
    const rbac = "/apis/rbac.authorization.k8s.io/v1";
    for (
      const path of [
        `${rbac}/clusterroles/flannel`,
        `${rbac}/clusterrolebindings/flannel`,
        "/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg",
        "/apis/apps/v1/namespaces/kube-flannel/daemonsets/kube-flannel-ds",
      ]
    ) {
      await expect(cluster.admin.call("GET", path)).rejects.toThrow(`GET ${path}: 404`);
    }
  }, 120_000);
});

const POD_SECURITY = "pod-security.kubernetes.io";

const RESOURCES: Readonly<Record<string, string>> = {
  Namespace: "/api/v1/namespaces",
  ServiceAccount: "/api/v1/namespaces/NS/serviceaccounts",
  ConfigMap: "/api/v1/namespaces/NS/configmaps",
  ClusterRole: "/apis/rbac.authorization.k8s.io/v1/clusterroles",
  ClusterRoleBinding: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
  DaemonSet: "/apis/apps/v1/namespaces/NS/daemonsets",
};

/** `kubectl apply --server-side --validate=strict`, also with `--dry-run=server`. */
async function apply(
  object: KubeObject,
  { dryRun = false }: { readonly dryRun?: boolean } = {},
): Promise<KubeObject> {
  const { name, namespace = "" } = object.metadata;
  const path = `${RESOURCES[object.kind]?.replace("NS", namespace)}/${name}`;
  const query = `fieldManager=kubectl&force=true&fieldValidation=Strict`;
  const url = `${path}?${query}${dryRun ? "&dryRun=All" : ""}`;
  const applied = await cluster.admin.call("PATCH", url, object, "application/apply-patch+yaml");
  return applied as KubeObject;
}

interface Pod {
  readonly spec: Pick<ReturnType<typeof podSpec>, "containers" | "initContainers">;
}

/** What the DaemonSet's controller would create; only checked. */
async function createPod(namespace: string): Promise<Pod> {
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { generateName: "kube-flannel-ds-", labels: { app: "flannel" } },
    spec: podSpec(manifestObjects()),
  };
  const path = `/api/v1/namespaces/${namespace}/pods?dryRun=All&fieldValidation=Strict`;
  return await cluster.admin.call("POST", path, pod) as Pod;
}

function podMounts({ spec }: Pod): [string, string[]][] {
  return [...spec.initContainers, ...spec.containers].map(({ name, volumeMounts }) => [
    name,
    volumeMounts.map(({ mountPath }) => mountPath),
  ]);
}

async function netConf(): Promise<string> {
  const path = "/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg";
  const map = await cluster.admin.call("GET", path) as { data: Record<string, string> };
  return map.data["net-conf.json"] as string;
}

/** Helm in the namespace of the control plane, as the cluster's administrator. */
async function helm(...args: readonly string[]): Promise<string> {
  const { namespace } = cluster.topology.etcd;
  const command = ["netns", "exec", namespace, await helmProgram(), ...args];
  const { exitCode, stdout, stderr } = await runProgram("ip", command, {
    timeoutMs: 60_000,
    env: { ...process.env, KUBECONFIG: adminKubeconfig(), HOME: cluster.plane.directory },
  });
  if (exitCode !== 0) throw new Error(stderr.trim());
  return stdout;
}

function adminKubeconfig(): string {
  const { ca, directory, url } = cluster.plane;
  const { certFile, keyFile } = ca.sign("helm", [], "system:masters");
  const file = join(directory, "helm.kubeconfig");
  const text = kubeconfigText({
    cluster: { server: url, "certificate-authority": ca.caFile },
    user: { "client-certificate": certFile, "client-key": keyFile },
  });
  writeFileSync(file, text);
  return file;
}
