/** What a test does to a cluster as its administrator: nodes, their podCIDRs and annotations. */

import { type ApiServerAccess, callApiServer } from "../../../src/lab/kube/api_server_call.ts";
import { mapParallel } from "../../../src/lab/map_parallel.ts";
import { manifestObjects, podSpec } from "../kube_manifest.ts";

/** A node as the API server reports it, with the members that tests read. */
export interface NodeObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly creationTimestamp: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly managedFields?: readonly { readonly manager: string; readonly operation: string }[];
  };
  readonly spec: { readonly podCIDR?: string; readonly podCIDRs?: readonly string[] };
  readonly status: { readonly conditions?: readonly Readonly<Record<string, string>>[] };
}

export interface NodeSpec {
  readonly name: string;
  /** One for each family; none by default, as before the controller manager has assigned them. */
  readonly podCidrs?: readonly string[];
  /** By default what a kubelet writes. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface PodName {
  readonly name: string;
  readonly nodeName: string;
}

/** A kubelet always writes this one. Without any annotation, Go flannel panics. */
const KUBELET_ANNOTATIONS = { "volumes.kubernetes.io/controller-managed-attach-detach": "true" };
export const FLANNEL_PREFIX = "flannel.alpha.coreos.com/";

/** Calls at once when many nodes are made. */
const PARALLEL = 16;

export class KubeAdmin {
  #access: ApiServerAccess;

  constructor(access: ApiServerAccess) {
    this.#access = access;
  }

  /** The same API for the owner of a token. */
  as(token: string): KubeAdmin {
    const { tls: { ca } } = this.#access;
    return new KubeAdmin({ ...this.#access, tls: { ca }, token });
  }

  /** The server's certificate is of another CA from now on. */
  trust(ca: string): void {
    this.#access = { ...this.#access, tls: { ...this.#access.tls, ca } };
  }

  /** Any call of the API; throws with the server's message unless it succeeds. */
  async call(
    method: string,
    path: string,
    body?: object,
    contentType?: string,
  ): Promise<unknown> {
    return await callApiServer(this.#access, { method, path, body, contentType });
  }

  async createNode(
    { name, podCidrs = [], annotations = KUBELET_ANNOTATIONS, labels }: NodeSpec,
  ): Promise<NodeObject> {
    return await this.call("POST", "/api/v1/nodes", {
      apiVersion: "v1",
      kind: "Node",
      metadata: {
        name,
        labels: { "kubernetes.io/os": "linux", "kubernetes.io/hostname": name, ...labels },
        annotations,
      },
      spec: podCidrSpec(podCidrs),
    }) as NodeObject;
  }

  /** Creates many nodes, several at once. */
  async createNodes(specs: readonly NodeSpec[]): Promise<void> {
    await mapParallel(specs, PARALLEL, (spec) => this.createNode(spec));
  }

  /** A pod of the manifest's DaemonSet, as the scheduler leaves it: its node is known. */
  async createPod({ name, nodeName }: PodName): Promise<void> {
    await this.call("POST", "/api/v1/namespaces/kube-flannel/pods", {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, labels: { app: "flannel" } },
      spec: { ...podSpec(manifestObjects()), nodeName },
    });
  }

  async node(name: string): Promise<NodeObject> {
    return await this.call("GET", `/api/v1/nodes/${name}`) as NodeObject;
  }

  async deleteNode(name: string): Promise<void> {
    await this.call("DELETE", `/api/v1/nodes/${name}`);
  }

  /** Does what the controller manager does; a podCIDR cannot be changed afterwards. */
  async assignPodCidrs(name: string, podCidrs: readonly string[]): Promise<void> {
    await this.#mergePatch(`/api/v1/nodes/${name}`, { spec: podCidrSpec(podCidrs) });
  }

  /** Sets annotations by their whole names; `null` removes one. */
  async annotate(
    name: string,
    annotations: Readonly<Record<string, string | null>>,
  ): Promise<void> {
    await this.#mergePatch(`/api/v1/nodes/${name}`, { metadata: { annotations } });
  }

  /** Sets annotations of flannel's prefix, by the rest of their names. */
  async annotateFlannel(
    name: string,
    annotations: Readonly<Record<string, string | null>>,
  ): Promise<void> {
    const entries = Object.entries(annotations);
    await this.annotate(
      name,
      Object.fromEntries(entries.map(([key, value]) => [`${FLANNEL_PREFIX}${key}`, value])),
    );
  }

  /** The annotations of flannel's prefix, without it, in order. */
  async flannelAnnotations(name: string): Promise<Readonly<Record<string, string>>> {
    const { metadata: { annotations = {} } } = await this.node(name);
    return Object.fromEntries(
      Object.entries(annotations).filter(([key]) => key.startsWith(FLANNEL_PREFIX))
        .map(([key, value]) => [key.slice(FLANNEL_PREFIX.length), value] as const).sort(),
    );
  }

  /** The node's condition of this type. */
  async condition(
    name: string,
    type: string,
  ): Promise<Readonly<Record<string, string>> | undefined> {
    const { status: { conditions = [] } } = await this.node(name);
    return conditions.find((condition) => condition["type"] === type);
  }

  async #mergePatch(path: string, patch: object): Promise<void> {
    await this.call("PATCH", path, patch, "application/merge-patch+json");
  }
}

function podCidrSpec(podCidrs: readonly string[]): object {
  return podCidrs.length === 0 ? {} : { podCIDR: podCidrs[0], podCIDRs: podCidrs };
}
