/** The Kubernetes objects in deploy/kube-flannel.yml, and in what Helm renders. */

import { readFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";
import type { KubeObject } from "../../src/lab/kube/lab_manifest.ts";

export interface ConfigMap extends KubeObject {
  readonly data: Readonly<Record<string, string>>;
}

export interface ClusterRole extends KubeObject {
  readonly rules: readonly PolicyRule[];
}

export interface PolicyRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

export interface DaemonSet extends KubeObject {
  readonly spec: {
    readonly selector: unknown;
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: PodSpec;
    };
  };
}

export interface PodSpec {
  readonly hostNetwork: boolean;
  readonly priorityClassName: string;
  readonly serviceAccountName: string;
  readonly tolerations?: readonly unknown[];
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly imagePullSecrets?: readonly { readonly name: string }[];
  readonly initContainers: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly Volume[];
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env?: readonly { readonly name: string }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly livenessProbe?: unknown;
  readonly readinessProbe?: unknown;
  readonly resources?: unknown;
  readonly securityContext: {
    readonly privileged: boolean;
    readonly readOnlyRootFilesystem?: boolean;
    readonly capabilities?: { readonly drop?: readonly string[]; readonly add?: readonly string[] };
  };
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

export interface Volume {
  readonly name: string;
  readonly hostPath?: { readonly path: string };
}

/** Stands in the manifest for the image that its user builds. */
export const IMAGE_PLACEHOLDER = "registry.example.com/flanneld";

const MANIFEST = new URL("../../deploy/kube-flannel.yml", import.meta.url).pathname;

/** In the order of the file, in which `kubectl apply` creates them. */
export function manifestObjects(): readonly KubeObject[] {
  return parseObjects(readFileSync(MANIFEST, "utf8"));
}

/** Throws for text that is not YAML, or has a key twice. */
export function parseObjects(text: string): readonly KubeObject[] {
  return [...parseAllDocuments(text)].flatMap((document) => {
    for (const error of [...document.errors, ...document.warnings]) throw error;
    const object = document.toJS() as KubeObject | null;
    return object === null ? [] : [object];
  });
}

/** The only object of this kind, as the interface of its kind. */
export function objectOfKind<T extends KubeObject>(
  objects: readonly KubeObject[],
  kind: string,
): T {
  const found = objects.filter((object) => object.kind === kind);
  if (found.length !== 1) throw new Error(`there are ${found.length} objects of kind ${kind}`);
  return found[0] as T;
}

/** The text of a file in the ConfigMap `kube-flannel-cfg`. */
export function configFile(
  objects: readonly KubeObject[],
  name: "net-conf.json" | "cni-conf.json",
): string {
  const text = objectOfKind<ConfigMap>(objects, "ConfigMap").data[name];
  if (text === undefined) throw new Error(`the ConfigMap has no ${name}`);
  return text;
}

export function podSpec(objects: readonly KubeObject[]): PodSpec {
  return objectOfKind<DaemonSet>(objects, "DaemonSet").spec.template.spec;
}
