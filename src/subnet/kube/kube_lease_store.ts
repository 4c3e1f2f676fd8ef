/** Leases as Nodes of Kubernetes, with annotations as Go flannel writes and reads them. */

import { entriesOf, type PerFamily, valuesOf } from "../../addr/family.ts";
import type { GivenAddress } from "../../addr/given_address.ts";
import type { IpAddress } from "../../addr/ip.ts";
import type { Clock } from "../../base/clock.ts";
import { quoted } from "../../base/quoting.ts";
import type { NetworkConfig } from "../../config/network_config.ts";
import type { KubeApi, KubeNode } from "../../kube/kube_api.ts";
import type { Log } from "../../log/log.ts";
import type { AnnotationFormat } from "../annotation_format.ts";
import type { Lease, LeaseWatch } from "../lease.ts";
import type { LeaseQuery, LeaseRequest, LeaseStore, OwnLease } from "../lease_store.ts";
import { excludedAddressIn } from "../lease_validation.ts";
import { KubeOwnLease } from "./kube_own_lease.ts";
import { watchNodeAlive } from "./node_liveness.ts";
import {
  agesOf,
  type AnnotationNames,
  decodeOwnAttributes,
  encodeAnnotations,
  type EncodedAnnotations,
  nodeLeaseKey,
  type NodeRules,
  prescribedAddressesOf,
} from "./node_annotations.ts";
import { NodeRecords } from "./node_records.ts";
import { NodeWatch } from "./node_watch.ts";
import { type AssignedNode, type NodeNameSource, OwnNode } from "./own_node.ts";
import { watchOwnNode } from "./own_node_watch.ts";
import { writeAnnotations } from "./write_annotations.ts";

/** Where the network configuration is. */
export interface NetworkConfigSource {
  networkConfig(signal: AbortSignal): Promise<string | undefined>;
  watchNetworkConfig(signal: AbortSignal): AsyncIterable<string | undefined>;
}

/** What the store must know of the network's backend. */
export interface NodeBackend {
  /** False if no other node's lease is read. */
  readonly connectsNodes: boolean;
  readonly annotations?: AnnotationFormat;
}

export interface KubeLeaseStoreOptions {
  /** The store owns it and closes it. */
  readonly api: KubeApi;
  readonly config: NetworkConfigSource;
  readonly node: NodeNameSource;
  readonly names: AnnotationNames;
  /** The backend for a network. Throws `ConfigError` if there is none. */
  readonly backendOf: (config: NetworkConfig) => NodeBackend;
  /** Whether the condition NetworkUnavailable of this node is set to False. */
  readonly setsCondition: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export class KubeLeaseStore implements LeaseStore {
  readonly description: string;
  readonly allocation = "kubernetes";
  readonly #options: KubeLeaseStoreOptions;
  readonly #ownNode: OwnNode;
  #held: HeldNode | undefined;

  constructor(options: KubeLeaseStoreOptions) {
    const { api, node, clock, log } = options;
    this.#options = options;
    this.#ownNode = new OwnNode({ api, source: node, clock, log });
    this.description = api.description;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#options.api[Symbol.asyncDispose]();
  }

  networkConfig(signal: AbortSignal): Promise<string | undefined> {
    return this.#options.config.networkConfig(signal);
  }

  watchNetworkConfig(signal: AbortSignal): AsyncIterable<string | undefined> {
    return this.#options.config.watchNetworkConfig(signal);
  }

  /** Throws `ConfigError` for an annotation that is not an address. */
  async prescribedAddresses(
    config: NetworkConfig,
    signal: AbortSignal,
  ): Promise<PerFamily<GivenAddress>> {
    const node = await this.#ownNode.node(signal);
    try {
      return prescribedAddressesOf(node, this.#rules(config));
    } catch (error) {
      this.#ownNode.forget();
      throw error;
    }
  }

  /**
   * What this node's annotations say, which an earlier run wrote. Waits for the pod CIDRs, before
   * anything is changed on this host. Throws `ConfigError` if the network cannot have them.
   */
  async previousLease({ config }: LeaseQuery, signal: AbortSignal): Promise<Lease | undefined> {
    const { node, subnets } = await this.#ownNode.assigned(config, signal);
    const { names } = this.#options;
    const attributes = decodeOwnAttributes(node, this.#rules(config));
    const { publicAddresses, backendType, backendData } = attributes;
    const isEmpty = backendType === "" && Object.keys(backendData).length === 0 &&
      Object.keys(publicAddresses).length === 0;
    if (isEmpty) return undefined;
    return { key: nodeLeaseKey(node.name), subnets, attributes, ...agesOf(node, names) };
  }

  /** Throws `ConfigError` if the network cannot have this node's pod CIDRs. */
  async acquire(request: LeaseRequest, signal: AbortSignal): Promise<OwnLease> {
    const { config, attributes } = request;
    const assigned = await this.#ownNode.assigned(config, signal);
    this.#warnAboutExcluded(assigned, request);
    this.#logOverwrites(assigned.node, request);
    const node = await this.#ownNode.retryUntilSuccess(
      "writing this node's annotations",
      signal,
      async () => {
        const { node } = await this.#ownNode.assigned(config, signal);
        return await this.#write(node, request, signal);
      },
    );
    const rules = this.#rules(config);
    const own = new KubeOwnLease({ ...this.#options, ...rules, config, node, attributes });
    this.#held = {
      own,
      name: node.name,
      readsNodes: this.#options.backendOf(config).connectsNodes,
      records: new NodeRecords(rules),
    };
    return own;
  }

  /** After `acquire`. With the `alloc` backend no node but this one is read. */
  watchLeases(signal: AbortSignal): AsyncIterable<LeaseWatch> {
    const { own, name, readsNodes, records } = this.#acquired("watchLeases");
    const options = {
      ...this.#options,
      own: name,
      onOwnNode: own.observe.bind(own),
      onRefused: own.watchRefused.bind(own),
    };
    if (!readsNodes) return watchOwnNode(options, signal);
    return {
      [Symbol.asyncIterator]: () => new NodeWatch({ ...options, records }, signal),
    };
  }

  /** After `acquire`. */
  watchAlive(address: IpAddress, signal: AbortSignal): AsyncIterable<boolean> {
    const { records } = this.#acquired("watchAlive");
    return watchNodeAlive(address, { ...this.#options, records }, signal);
  }

  /** Writes only what differs, and nothing if another Node has the name by now. */
  async #write(
    node: KubeNode,
    request: LeaseRequest,
    signal: AbortSignal,
  ): Promise<KubeNode> {
    const { api, log } = this.#options;
    const { annotations: wanted } = this.#encode(node, request);
    try {
      const written = await writeAnnotations({ api, log, node, wanted }, signal);
      this.#ownNode.remember(written);
      return written;
    } catch (error) {
      this.#ownNode.forget();
      throw error;
    }
  }

  #logOverwrites(node: KubeNode, request: LeaseRequest): void {
    const { log, names } = this.#options;
    const { publicAddresses, problems } = this.#encode(node, request);
    for (const problem of problems) log.warn(problem);
    for (const [family, address] of entriesOf(publicAddresses)) {
      if (address === request.attributes.publicAddresses[family]) continue;
      log.info(`publishing the public address ${address} of annotation ${names.overwrite[family]}`);
    }
  }

  /** Kubernetes chooses the pod CIDR without knowledge of this host. */
  #warnAboutExcluded({ node, subnets }: AssignedNode, { excluded }: LeaseRequest): void {
    for (const subnet of valuesOf(subnets)) {
      const address = excludedAddressIn(subnet, excluded);
      if (address === undefined) continue;
      this.#options.log.warn(
        `pod CIDR ${subnet} of node ${quoted(node.name)} contains ${address.address}, ` +
          `${address.what}, which may become unreachable; choose a --cluster-cidr that does not ` +
          "contain it",
      );
    }
  }

  #encode({ annotations }: KubeNode, { config, attributes }: LeaseRequest): EncodedAnnotations {
    return encodeAnnotations(attributes, annotations, { ...this.#rules(config), config });
  }

  #rules(config: NetworkConfig): NodeRules {
    const { names, backendOf } = this.#options;
    return { names, families: config.families, format: backendOf(config).annotations ?? {} };
  }

  #acquired(method: string): HeldNode {
    if (this.#held === undefined) throw new TypeError(`${method} is called after acquire`);
    return this.#held;
  }
}

interface HeldNode {
  readonly own: KubeOwnLease;
  readonly name: string;
  readonly readsNodes: boolean;
  readonly records: NodeRecords;
}
