/** This host's Node: its name, and the pod CIDRs that Kubernetes has assigned to it. */

import { entriesOf, familiesOf, mapFamilies, type PerFamily, valuesOf } from "../../addr/family.ts";
import { type Prefix, prefixContains } from "../../addr/prefix.ts";
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { quoted } from "../../base/quoting.ts";
import { ConfigError } from "../../config/config_error.ts";
import type { NetworkConfig } from "../../config/network_config.ts";
import type { KubeApi, KubeNode } from "../../kube/kube_api.ts";
import { KubeError } from "../../kube/kube_error.ts";
import type { Log } from "../../log/log.ts";
import { retryUntilSuccess } from "../store_retry.ts";
import { isKubeError, NotYetError, retryOfKube } from "./kube_store_failure.ts";
import { readPodCidrs } from "./node_annotations.ts";

/** Where the name of the Node is from. */
export type NodeNameSource =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "pod"; readonly namespace: string; readonly pod: string };

/** From the environment variables of the manifest. Throws `ConfigError`. */
export function nodeNameSource(env: Readonly<Record<string, string | undefined>>): NodeNameSource {
  const { NODE_NAME: name, POD_NAME: pod, POD_NAMESPACE: namespace } = env;
  // A manifest may set a variable to nothing to mean "not set".
  if (name) return { kind: "name", name };
  if (pod && namespace) return { kind: "pod", namespace, pod };
  throw new ConfigError(
    "env variables POD_NAME and POD_NAMESPACE must be set, or NODE_NAME, to find this host's " +
      "Node; in a manifest from the fields metadata.name, metadata.namespace and spec.nodeName",
  );
}

export interface OwnNodeOptions {
  readonly api: KubeApi;
  readonly source: NodeNameSource;
  readonly clock: Clock;
  readonly log: Log;
}

/** The Node, and what the network has of its pod CIDRs. */
export interface AssignedNode {
  readonly node: KubeNode;
  readonly subnets: PerFamily<Prefix>;
}

export class OwnNode {
  readonly #options: OwnNodeOptions;
  #name: string | undefined;
  #last: { readonly node: KubeNode; readonly readMs: number } | undefined;

  constructor(options: OwnNodeOptions) {
    this.#options = options;
  }

  /** Waits until the Node exists. Its state may be a few seconds old. */
  node(signal: AbortSignal): Promise<KubeNode> {
    return this.retryUntilSuccess("reading this node", signal, () => this.#read(signal));
  }

  /**
   * Waits until the Node has pod CIDRs. Its state may be a few seconds old. Throws `ConfigError` if
   * the network cannot have them: they do not change while the Node exists.
   */
  assigned(config: NetworkConfig, signal: AbortSignal): Promise<AssignedNode> {
    return this.retryUntilSuccess("taking this node's subnet", signal, async () => {
      const node = await this.#read(signal);
      try {
        return { node, subnets: assignedSubnets(node, config) };
      } catch (error) {
        this.forget();
        throw error;
      }
    });
  }

  /** The state that a call has returned. */
  remember(node: KubeNode): void {
    this.#last = { node, readMs: this.#options.clock.nowMs() };
  }

  /** The Node is to be read again. */
  forget(): void {
    this.#last = undefined;
  }

  retryUntilSuccess<T>(what: string, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    const { log, clock } = this.#options;
    const retry = { log, clock, signal, firstMs: 500, maxMs: 2000, retryOf: retryOfKube };
    return retryUntilSuccess({ what, ...retry }, attempt);
  }

  async #read(signal: AbortSignal): Promise<KubeNode> {
    const oldestMs = this.#options.clock.nowMs() - FRESH_MS;
    if (this.#last !== undefined && this.#last.readMs >= oldestMs) return this.#last.node;
    const name = this.#name ??= await this.#findName(signal);
    const node = await readNode(this.#options.api, name, signal);
    this.remember(node);
    return node;
  }

  async #findName(signal: AbortSignal): Promise<string> {
    const { source, api } = this.#options;
    if (source.kind === "name") return source.name;
    const { namespace, pod } = source;
    const text = `'${namespace}/${pod}'`;
    const { nodeName } = await api.pod({ namespace, pod }, signal).catch((cause) => {
      if (!(cause instanceof KubeError)) throw cause;
      // In the words of Go flannel, for which its users search.
      const message = `error retrieving pod spec for ${text}: ${errorMessage(cause)}; or set ` +
        "NODE_NAME from the field spec.nodeName";
      throw new KubeError(message, { ...cause, kind: cause.kind, cause });
    });
    if (nodeName !== "") return nodeName;
    throw new NotYetError(`node name not present in pod spec ${text}; waiting until it has one`);
  }
}

/** Reads a Node. Throws `NotYetError` if there is none. */
async function readNode(
  api: KubeApi,
  name: string,
  signal: AbortSignal,
): Promise<KubeNode> {
  try {
    return await api.node(name, signal);
  } catch (cause) {
    if (!isKubeError(cause, "not-found")) throw cause;
    throw new NotYetError(
      `node ${quoted(name)} does not exist; waiting until the kubelet has registered it; if it ` +
        "has another name, correct NODE_NAME",
      { cause },
    );
  }
}

/**
 * The pod CIDRs of the network's families. Throws `NotYetError` if none are assigned, and
 * `ConfigError` if these do not fit the network.
 */
export function assignedSubnets(node: KubeNode, { families }: NetworkConfig): PerFamily<Prefix> {
  const name = quoted(node.name);
  if (node.podCidrs.length === 0) {
    const networks = valuesOf(families).map(({ network }) => network).join(",");
    throw new NotYetError(
      `node ${name} pod cidr not assigned; waiting for it; kube-controller-manager assigns one ` +
        `if it has --allocate-node-cidrs=true and --cluster-cidr=${networks} (kubeadm init ` +
        `--pod-network-cidr=${networks})`,
    );
  }
  const subnets = readPodCidrs(node.podCidrs);
  if (typeof subnets === "string") throw new ConfigError(`cannot use node ${name}: ${subnets}`);
  const missing = familiesOf(families).find((family) => subnets[family] === undefined);
  if (missing !== undefined) {
    throw new ConfigError(
      `node ${name} has no IPv${missing} pod CIDR, only ${node.podCidrs[0]}, and the ` +
        `network has IPv${missing}; set EnableIPv${missing} to false, or give ` +
        "kube-controller-manager a --cluster-cidr of each family and recreate the Node",
    );
  }
  for (const [family, { network }] of entriesOf(families)) {
    const subnet = subnets[family] as Prefix;
    if (prefixContains(network, subnet)) continue;
    const kind = family === 4 ? "PodCIDR" : "IPv6 PodCIDR";
    throw new ConfigError(
      `subnet "${network}" specified in the flannel net config doesn't contain "${subnet}" ` +
        `${kind} of the ${name} node; set ${family === 4 ? "Network" : "IPv6Network"} to the ` +
        "--cluster-cidr of kube-controller-manager",
    );
  }
  return mapFamilies(families, (_, family) => subnets[family]);
}

/** For how long a state that was read is used by the steps of a start that follow. */
const FRESH_MS = 5_000;
