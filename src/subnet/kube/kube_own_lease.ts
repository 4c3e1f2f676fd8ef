/**
 * The lease that this node's Node is: its annotations are written again when another program
 * removes or changes them, or when the Node is deleted and created again.
 *
 * An event of the watch only says that the Node must be read: it may be older than this node's last
 * write. What is read is compared with what is wanted, and only the difference is written.
 */

import { unlessAborted } from "../../base/abort.ts";
import { type Clock, sleep } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import { quoted } from "../../base/quoting.ts";
import { SerialQueue } from "../../base/serial_queue.ts";
import { timestamp } from "../../base/timestamp.ts";
import { ConfigError } from "../../config/config_error.ts";
import type { NetworkConfig } from "../../config/network_config.ts";
import type { KubeApi, KubeNode, KubeNodeMetadata } from "../../kube/kube_api.ts";
import type { Log } from "../../log/log.ts";
import type { AnnotationFormat } from "../annotation_format.ts";
import type { Lease, LeaseAttributes } from "../lease.ts";
import type { OwnLease } from "../lease_store.ts";
import { retryUntilSuccess } from "../store_retry.ts";
import { ForeignChanges } from "./foreign_changes.ts";
import { isKubeError, NotYetError, retryOfKube } from "./kube_store_failure.ts";
import {
  agesOf,
  type AnnotationNames,
  differingAnnotations,
  encodeAnnotations,
  nodeLeaseKey,
} from "./node_annotations.ts";
import { assignedSubnets } from "./own_node.ts";
import { writeAnnotations } from "./write_annotations.ts";

export interface KubeOwnLeaseOptions {
  readonly api: KubeApi;
  readonly names: AnnotationNames;
  readonly format: AnnotationFormat;
  readonly config: NetworkConfig;
  /** The Node, with the annotations of these attributes. */
  readonly node: KubeNode;
  readonly attributes: LeaseAttributes;
  /** Whether `networkReady` sets the condition NetworkUnavailable of the Node to False. */
  readonly setsCondition: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export class KubeOwnLease implements OwnLease {
  readonly #options: KubeOwnLeaseOptions;
  readonly #lost = Promise.withResolvers<string>();
  readonly #stopped = new AbortController();
  readonly #turns = new SerialQueue();
  readonly #changes: ForeignChanges;
  readonly #task: Promise<void>;
  #lease: Lease;
  #attributes: LeaseAttributes;
  /** The Node's state that this node has written or accepted. */
  #accepted: Accepted;
  /** Whether the Node's condition says that the network is ready. */
  #condition: "not ready" | "due" | "written" = "not ready";
  #problems: Problems;
  /** Resolved when the Node is to be read. */
  #due = Promise.withResolvers<void>();

  constructor(options: KubeOwnLeaseOptions) {
    const { node, attributes, clock, log } = options;
    this.#options = options;
    this.#attributes = attributes;
    this.#changes = new ForeignChanges({ node: node.name, clock, log });
    const { annotations, problems } = this.#encode(node);
    this.#problems = { reported: problems };
    this.#accepted = { uid: node.uid, annotations };
    this.#lease = this.#leaseOf(node, assignedSubnets(node, options.config));
    this.#task = this.#keepWritten().catch((error) => this.#failed(error));
  }

  get lease(): Lease {
    return this.#lease;
  }

  get lost(): Promise<string> {
    return this.#lost.promise;
  }

  get problem(): string | undefined {
    const { absence, watch } = this.#problems;
    return absence ?? watch ?? this.#changes.problem;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await this.#task;
    await this.#turns.idle();
  }

  /** The newest state of the Node that a watch has reported; `undefined` if it was deleted. */
  observe(node: KubeNodeMetadata | undefined): void {
    const isAsAccepted = node !== undefined && this.#problems.absence === undefined &&
      node.uid === this.#accepted.uid && this.#differenceOf(node).length === 0;
    if (!isAsAccepted) this.#due.resolve();
  }

  /** Why the API server refuses to send changes of nodes; `undefined` if it sends them again. */
  watchRefused(problem: string | undefined): void {
    if (problem !== this.#problems.watch) this.#problems = { ...this.#problems, watch: problem };
  }

  async update(attributes: LeaseAttributes, signal: AbortSignal): Promise<void> {
    const both = AbortSignal.any([signal, this.#stopped.signal]);
    await this.#turns.run(async () => {
      this.#attributes = attributes;
      await this.#check("changing this node's annotations", both);
    });
  }

  networkReady(): void {
    if (!this.#options.setsCondition || this.#condition !== "not ready") return;
    this.#condition = "due";
    const { signal } = this.#stopped;
    this.#turns.run(() =>
      this.#retryUntilSuccess(
        "setting the condition NetworkUnavailable of this node",
        signal,
        () => this.#writeCondition(signal),
      )
    ).catch((error) => this.#failed(error));
  }

  async #keepWritten(): Promise<void> {
    const { signal } = this.#stopped;
    const { clock } = this.#options;
    for (;;) {
      await unlessAborted(this.#due.promise, signal);
      this.#due = Promise.withResolvers();
      await sleep(clock, this.#changes.pauseMs(), signal);
      await this.#turns.run(() => this.#check("checking this node's annotations", signal));
    }
  }

  /** Reads the Node, and writes what differs. */
  #check(what: string, signal: AbortSignal): Promise<void> {
    return this.#retryUntilSuccess(what, signal, async () => {
      const node = await this.#read(signal);
      if (node === undefined || !this.#isSameNode(node)) return;
      await this.#write(node, signal);
      this.#problems = { ...this.#problems, absence: undefined };
    });
  }

  async #read(signal: AbortSignal): Promise<KubeNode | undefined> {
    const { api, node: { name }, log } = this.#options;
    try {
      return await api.node(name, signal);
    } catch (error) {
      if (!isKubeError(error, "not-found")) throw error;
      const absence = `node ${quoted(name)} was deleted from Kubernetes, so the other nodes have ` +
        "no route to this one; waiting until the kubelet has registered it again";
      if (absence !== this.#problems.absence) log.warn(absence);
      this.#problems = { ...this.#problems, absence };
      return undefined;
    }
  }

  /**
   * Whether this is the known Node, or one that was created in its place and has the same subnets.
   * Otherwise the subnet is lost: the workloads' addresses may be another node's by now.
   */
  #isSameNode(node: KubeNode): boolean {
    if (node.uid === this.#accepted.uid) return true;
    const { config, log } = this.#options;
    const name = quoted(node.name);
    try {
      const subnets = assignedSubnets(node, config);
      const before = this.#lease.subnets;
      if (subnets[4] !== before[4] || subnets[6] !== before[6]) {
        this.#lose(
          `node ${name} was deleted and created again, with the pod CIDR ` +
            `${node.podCidrs.join(" and ")}`,
        );
        return false;
      }
    } catch (error) {
      if (error instanceof NotYetError) {
        this.#problems = { ...this.#problems, absence: error.message };
      }
      if (!(error instanceof ConfigError)) throw error;
      this.#lose(errorMessage(error));
      return false;
    }
    log.warn(`node ${name} was deleted and created again; writing its annotations`);
    this.#accepted = { uid: node.uid, annotations: {} };
    if (this.#condition === "written") this.#condition = "due";
    return true;
  }

  async #write(node: KubeNode, signal: AbortSignal): Promise<void> {
    const { api, log } = this.#options;
    const { annotations, problems } = this.#encode(node);
    const foreign = differingAnnotations(this.#accepted.annotations, node.annotations);
    this.#changes.found(node, foreign);
    const { reported } = this.#problems;
    for (const problem of problems) if (!reported.includes(problem)) log.warn(problem);
    this.#problems = { ...this.#problems, reported: problems };
    const written = await writeAnnotations({ api, log, node, wanted: annotations }, signal);
    this.#accepted = { uid: node.uid, annotations };
    this.#lease = this.#leaseOf(written, this.#lease.subnets);
    await this.#writeCondition(signal);
  }

  /** If it is due. As Go flannel writes it. */
  async #writeCondition(signal: AbortSignal): Promise<void> {
    if (this.#condition !== "due") return;
    const { api, clock, node } = this.#options;
    const now = timestamp(clock.wallMs());
    const condition = {
      type: "NetworkUnavailable",
      status: "False",
      lastHeartbeatTime: now,
      lastTransitionTime: now,
      reason: "FlannelIsUp",
      message: "Flannel is running on this node",
    };
    try {
      await api.patchNodeStatus(node.name, { status: { conditions: [condition] } }, signal);
      this.#condition = "written";
    } catch (error) {
      // It is written with the annotations when the Node exists again.
      if (!isKubeError(error, "not-found")) throw error;
      this.#due.resolve();
    }
  }

  #failed(error: unknown): void {
    if (!this.#stopped.signal.aborted) this.#lost.reject(error);
  }

  #lose(reason: string): void {
    this.#stopped.abort();
    this.#lost.resolve(reason);
  }

  #encode(node: KubeNodeMetadata) {
    return encodeAnnotations(this.#attributes, node.annotations, this.#options);
  }

  /** The names of the annotations that differ from what is wanted. */
  #differenceOf(node: KubeNodeMetadata): string[] {
    return Object.keys(differingAnnotations(this.#encode(node).annotations, node.annotations));
  }

  #leaseOf(node: KubeNode, subnets: Lease["subnets"]): Lease {
    const { publicAddresses } = this.#encode(node);
    const attributes = { ...this.#attributes, publicAddresses };
    return {
      key: nodeLeaseKey(node.name),
      subnets,
      attributes,
      ...agesOf(node, this.#options.names),
    };
  }

  #retryUntilSuccess(
    what: string,
    signal: AbortSignal,
    attempt: () => Promise<void>,
  ): Promise<void> {
    const { log, clock } = this.#options;
    const retry = { log, clock, signal, firstMs: 500, maxMs: 5000, retryOf: retryOfKube };
    return retryUntilSuccess({ what, ...retry }, attempt);
  }
}

interface Problems {
  /** Why the Node is not as it should be. */
  readonly absence?: string | undefined;
  /** Why changes of nodes are not received. */
  readonly watch?: string | undefined;
  /** Annotations of an operator that cannot be used, which have been logged. */
  readonly reported: readonly string[];
}

interface Accepted {
  readonly uid: string;
  /** Empty for a Node that was created again. */
  readonly annotations: KubeNodeMetadata["annotations"];
}
