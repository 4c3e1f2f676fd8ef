/**
 * The leases of all nodes: first a list of whole Nodes, page by page; then a watch of their
 * metadata, a tenth of the bytes. Nodes write their status every few seconds, and most events
 * change no lease. Pod CIDRs are not metadata: they are remembered by the node's uid, since they do
 * not change, and read one by one for a new node.
 *
 * Reading does not wait for the reader of the leases: `NodeRecords` holds at most one change for
 * each node.
 */

import { unlessAborted } from "../../base/abort.ts";
import type { Clock } from "../../base/clock.ts";
import type { KubeApi, KubeNodeMetadata, KubeNodePage } from "../../kube/kube_api.ts";
import type { Log } from "../../log/log.ts";
import type { LeaseWatch } from "../lease.ts";
import { followNodes } from "./node_events.ts";
import type { NodeRecords } from "./node_records.ts";
import { PodCidrReader } from "./pod_cidr_reader.ts";

export interface NodeWatchOptions {
  readonly api: KubeApi;
  readonly records: NodeRecords;
  /** The name of this node. */
  readonly own: string;
  /** Called with each state of this node; `undefined` if it does not exist. */
  readonly onOwnNode: (node: KubeNodeMetadata | undefined) => void;
  readonly onRefused: (problem: string | undefined) => void;
  readonly clock: Clock;
  readonly log: Log;
}

export class NodeWatch implements AsyncIterator<LeaseWatch, undefined> {
  readonly #options: NodeWatchOptions;
  readonly #cidrs: PodCidrReader;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  #isListed = false;
  #isSnapshotDue = false;
  /** Resolved when there may be something to yield; rejects for a bug. */
  #wake = newWake();
  #tasks: Promise<unknown> | undefined;

  constructor(options: NodeWatchOptions, signal: AbortSignal) {
    this.#options = options;
    this.#cidrs = new PodCidrReader({ ...options, onRead: () => this.#wake.resolve() });
    this.#signal = AbortSignal.any([signal, this.#stop.signal]);
  }

  async next(): Promise<IteratorResult<LeaseWatch, undefined>> {
    this.#tasks ??= this.#start();
    const { records } = this.#options;
    while (!this.#signal.aborted) {
      if (this.#isSnapshotDue) {
        this.#isSnapshotDue = false;
        return { done: false, value: records.snapshot() };
      }
      const value = this.#isListed ? records.takeChange() : undefined;
      if (value !== undefined) return { done: false, value };
      await unlessAborted(this.#wake.promise, this.#signal).catch((error) => {
        if (!this.#signal.aborted) throw error;
      });
      this.#wake = newWake();
    }
    return await this.return();
  }

  async return(): Promise<IteratorResult<LeaseWatch, undefined>> {
    this.#stop.abort();
    await this.#tasks;
    return { done: true, value: undefined };
  }

  /** Settles without an error when both tasks have ended. */
  #start(): Promise<unknown> {
    const { api, records, own, onOwnNode, onRefused, clock, log } = this.#options;
    const signal = this.#signal;
    const follow = followNodes({
      what: "following the nodes of the cluster",
      list: () => this.#list(),
      watch: (resourceVersion, onOpened) => api.watchNodes(resourceVersion, signal, { onOpened }),
      put: (node) => {
        records.put(node);
        if (node.name === own) onOwnNode(node);
        if (records.isIncomplete(node.name)) this.#cidrs.nodeChanged(node.name);
        if (records.hasChange) this.#wake.resolve();
      },
      delete: ({ name }) => {
        records.delete(name);
        if (name === own) onOwnNode(undefined);
        this.#wake.resolve();
      },
      count: () => records.size,
      onRefused,
      clock,
      log,
    }, signal);
    const tasks = [follow, this.#cidrs.run(signal)];
    return Promise.all(tasks.map((task) =>
      task.catch((error) => {
        if (!signal.aborted) this.#wake.reject(error);
      })
    ));
  }

  /** The first time with pod CIDRs; then only new nodes are asked for them. */
  async #list(): Promise<string> {
    const { api, records } = this.#options;
    const signal = this.#signal;
    const listWhole = (options: { readonly notOlderThan?: string }) =>
      this.#take(api.listNodes(signal, options), (node) => records.putWithPodCidrs(node));
    let revision: string;
    if (this.#isListed) {
      revision = await this.#take(api.listNodeMetadata(signal), (node) => records.put(node));
      if (records.incomplete.length <= MAX_SINGLE_READS) await this.#cidrs.readDue(signal);
      // An older list would take back what this one has said.
      else revision = await listWhole({ notOlderThan: revision });
    } else {
      revision = await listWhole({});
    }
    this.#isListed = this.#isSnapshotDue = true;
    this.#wake.resolve();
    return revision;
  }

  async #take<T extends KubeNodeMetadata>(
    pages: AsyncIterable<KubeNodePage<T>>,
    put: (node: T) => void,
  ): Promise<string> {
    const { records, own, onOwnNode } = this.#options;
    const names = new Set<string>();
    let revision = "";
    let ownNode: T | undefined;
    for await (const page of pages) {
      revision = page.resourceVersion;
      for (const node of page.nodes) {
        put(node);
        names.add(node.name);
        if (node.name === own) ownNode = node;
      }
    }
    records.retain(names);
    onOwnNode(ownNode);
    return revision;
  }
}

/** A rejection is seen by the next reader. */
function newWake(): PromiseWithResolvers<void> {
  const wake = Promise.withResolvers<void>();
  wake.promise.catch(() => undefined);
  return wake;
}

/** With more nodes whose pod CIDRs are not known, a list of all nodes is cheaper. */
const MAX_SINGLE_READS = 50;
