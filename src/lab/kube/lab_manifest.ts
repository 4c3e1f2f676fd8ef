/**
 * What deploy/kube-flannel.yml says: a lab creates its objects and starts the daemon and the CNI
 * plugins as it does.
 */

import { parseAllDocuments } from "yaml";
import manifestText from "../../../deploy/kube-flannel.yml" with { type: "text" };
import type { LabHost } from "../topology.ts";

export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly [member: string]: unknown;
}

export interface LabManifest {
  /** In the order in which `kubectl apply` creates them. */
  readonly objects: readonly KubeObject[];
  readonly account: { readonly namespace: string; readonly name: string };
  /** The list of plugins, as a container runtime reads it. */
  readonly conflist: CniConflist;
  /** The flags of the daemon's container. */
  readonly daemonFlags: readonly string[];
  /** The pod of the DaemonSet on this host. */
  daemonPod(host: LabHost): KubeObject;
  /** The environment of the daemon's container in that pod. */
  daemonEnvironment(pod: KubeObject): Readonly<Record<string, string>>;
}

export interface CniConflist {
  readonly name: string;
  readonly cniVersion: string;
  readonly plugins: readonly CniPluginConfig[];
}

export interface CniPluginConfig {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** The manifest with this network configuration. */
export function labManifest(networkConfig: object): LabManifest {
  const documents = [...parseAllDocuments(manifestText)].map((one) => one.toJS() as KubeObject);
  const files = objectOf<ConfigMap>(documents, "ConfigMap").data;
  const { metadata, spec: { template } } = objectOf<DaemonSet>(documents, "DaemonSet");
  const [container] = template.spec.containers;
  if (container === undefined) throw new Error("the DaemonSet has no container");
  const namespace = metadata.namespace ?? "default";
  const data = { ...files, "net-conf.json": JSON.stringify(networkConfig) };
  return {
    objects: documents.map((object) => object.kind === "ConfigMap" ? { ...object, data } : object),
    account: { namespace, name: template.spec.serviceAccountName },
    conflist: JSON.parse(files["cni-conf.json"] ?? "") as CniConflist,
    daemonFlags: container.args,
    daemonPod: (host) =>
      ({
        apiVersion: "v1",
        kind: "Pod",
        metadata: { ...template.metadata, namespace, name: `${metadata.name}-${host.name}` },
        spec: { ...template.spec, nodeName: host.name },
      }) as KubeObject,
    daemonEnvironment: (pod) =>
      Object.fromEntries(container.env.map((variable) => [variable.name, valueOf(variable, pod)])),
  };
}

interface ConfigMap extends KubeObject {
  readonly data: Readonly<Record<string, string>>;
}

interface DaemonSet extends KubeObject {
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: {
        readonly serviceAccountName: string;
        readonly containers: readonly {
          readonly args: readonly string[];
          readonly env: readonly EnvironmentVariable[];
        }[];
      };
    };
  };
}

interface EnvironmentVariable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath?: string } };
}

function objectOf<T extends KubeObject>(objects: readonly KubeObject[], kind: string): T {
  const object = objects.find((one) => one.kind === kind);
  if (object === undefined) throw new Error(`the manifest has no ${kind}`);
  return object as T;
}

/** What a kubelet sets the variable to. */
function valueOf({ name, value, valueFrom }: EnvironmentVariable, pod: KubeObject): string {
  const path = valueFrom?.fieldRef?.fieldPath;
  if (path === undefined) return value ?? "";
  if (path === "metadata.name") return pod.metadata.name;
  if (path === "metadata.namespace") return pod.metadata.namespace ?? "";
  throw new Error(`a lab cannot set ${name}, whose value is the field ${path} of the pod`);
}
