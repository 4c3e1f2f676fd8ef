/**
 * An API server in memory, with the parts of its semantics on which the daemon relies: resource
 * versions, pages of one revision, watches that resume, are cut or too old, uids, field managers.
 */

import { lowerBound } from "../../src/base/binary_search.ts";
import type {
  KubeApi,
  KubeCondition,
  KubeManagedFields,
  KubeNode,
  KubeNodeEvent,
  KubeNodeMetadata,
  KubeNodePage,
  KubeNodeStatusPatch,
  KubePod,
  KubeWatchOptions,
} from "../../src/kube/kube_api.ts";
import { KubeError, type KubeFailure } from "../../src/kube/kube_error.ts";
import { FakeClock } from "./fake_clock.ts";

export type KubeMethod = "node" | "pod" | "listNodes" | "listNodeMetadata" | "watchNodes" | "patch";

interface NewNode {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly podCidrs?: readonly string[];
  readonly conditions?: readonly KubeCondition[];
}

const PAGE = 500;
const STATUS: Partial<Record<KubeFailure, number>> = {
  unauthorized: 401,
  forbidden: 403,
  "not-found": 404,
  conflict: 409,
  expired: 410,
  invalid: 422,
  throttled: 429,
  server: 500,
};

export class FakeKube {
  readonly clock: FakeClock;
  readonly pods = new Map<string, KubePod>();
  /** The calls of all clients, such as `PATCH n1 {"metadata":…}`. */
  readonly calls: string[] = [];
  readonly #nodes = new Map<string, KubeNode>();
  /** Changes, oldest first, each with its resource version. */
  readonly #history: { readonly version: number; readonly event: KubeNodeEvent }[] = [];
  #version = 100;
  #uid = 0;
  /** The oldest resource version from which a watch can start. */
  #oldest = 0;
  /** Resolved when something changes for a watch. */
  #wake = Promise.withResolvers<void>();
  /** Watches with a lower number end with an error. */
  #cutGeneration = 0;
  /** Watches with a lower number end as after their time. */
  #closeGeneration = 0;
  /** Watches are cut after this number of events. */
  cutAfter = Infinity;
  /** What lists from the cache return, unless that is too old. */
  #cached: { readonly nodes: readonly KubeNode[]; readonly version: number } | undefined;
  /** Whether every new watch ends properly before its first event. */
  endsWatches = false;
  readonly #failures = new Map<KubeMethod, KubeFailure>();
  readonly #nextFailures = new Map<KubeMethod, Error[]>();

  constructor(clock = new FakeClock()) {
    this.clock = clock;
  }

  get watches(): number {
    return this.#open;
  }
  #open = 0;

  client(manager = "flanneld"): KubeApi {
    return new FakeKubeClient(this, manager);
  }

  get(name: string): KubeNode {
    const node = this.#nodes.get(name);
    if (node === undefined) throw kubeError("not-found", `nodes "${name}" not found`);
    return node;
  }

  annotations(name: string): Readonly<Record<string, string>> {
    return this.get(name).annotations;
  }

  create(name: string, fields: NewNode = {}): KubeNode {
    const { annotations = {}, podCidrs = [], conditions = [] } = fields;
    const nowMs = this.#nowMs();
    return this.#put({
      name,
      uid: `uid-${++this.#uid}`,
      resourceVersion: "",
      createdMs: nowMs,
      annotations,
      managedFields: Object.keys(annotations).length === 0
        ? []
        : [{ manager: "creator", timeMs: nowMs, annotations: Object.keys(annotations) }],
      podCidrs,
      conditions,
    });
  }

  delete(name: string): void {
    const node = this.get(name);
    this.#nodes.delete(name);
    this.#publish({ kind: "delete", node: { ...metadataOf(node), ...this.#next() } });
  }

  /** Kubernetes assigns pod CIDRs. */
  assign(name: string, ...podCidrs: string[]): void {
    this.#put({ ...this.get(name), podCidrs });
  }

  /** Another program changes annotations; `null` removes one. */
  annotate(
    name: string,
    annotations: Readonly<Record<string, string | null>>,
    manager = "kubectl-annotate",
  ): void {
    const node = this.get(name);
    this.#put({ ...node, ...this.#annotated(node, annotations, manager) });
  }

  setCondition(name: string, type: string, status: string): void {
    const node = this.get(name);
    const others = node.conditions.filter((one) => one.type !== type);
    this.#put({ ...node, conditions: [...others, { type, status, reason: "", message: "" }] });
  }

  /** A change of something else. */
  heartbeat(name: string): void {
    this.#put(this.get(name));
  }

  bookmark(): void {
    this.#publish({ kind: "bookmark", ...this.#next() });
  }

  /** Forgets the changes up to now: a watch from an older resource version gets 410. */
  compact(): void {
    this.#oldest = this.#version;
    this.#history.length = 0;
  }

  /** Makes a change that only a list shows: the watches are cut, and its events are forgotten. */
  changeWithoutEvents(change: () => void): void {
    this.cutWatches();
    change();
    this.compact();
  }

  /** Every open watch ends with an error. */
  cutWatches(): void {
    this.#cutGeneration++;
    this.#notify();
  }

  /** Every open watch ends properly, as after some minutes. */
  closeWatches(): void {
    this.#closeGeneration++;
    this.#notify();
  }

  /** Every call of the method fails until `works`. */
  fail(method: KubeMethod, kind: KubeFailure): void {
    this.#failures.set(method, kind);
    if (method === "watchNodes") this.cutWatches();
  }

  works(...methods: KubeMethod[]): void {
    for (const method of methods) this.#failures.delete(method);
  }

  failNext(method: KubeMethod, ...errors: Error[]): void {
    this.#nextFailures.set(method, [...this.#nextFailures.get(method) ?? [], ...errors]);
  }

  /** For the clients: records the call, and throws if it is to fail. */
  async called(method: KubeMethod, text: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.calls.push(text);
    await Promise.resolve();
    signal.throwIfAborted();
    const next = this.#nextFailures.get(method)?.shift();
    if (next !== undefined) throw next;
    const kind = this.#failures.get(method);
    if (kind !== undefined) throw kubeError(kind, `${method} is ${kind}`);
  }

  /** From now on, the cache of the server is behind. */
  freezeCache(): void {
    this.#cached = { nodes: [...this.#nodes.values()], version: this.#version };
  }

  /** For the clients: pages of the list as it is at the first page. */
  async *pages<T extends KubeNodeMetadata>(
    map: (node: KubeNode) => T,
    { notOlderThan = Infinity }: { readonly notOlderThan?: number } = {},
  ): AsyncGenerator<KubeNodePage<T>> {
    const current = { nodes: [...this.#nodes.values()], version: this.#version };
    const cached = this.#cached;
    const { nodes, version } = cached && cached.version >= notOlderThan ? cached : current;
    const resourceVersion = String(version);
    for (let i = 0; i === 0 || i < nodes.length; i += PAGE) {
      await Promise.resolve();
      yield { nodes: nodes.slice(i, i + PAGE).map(map), resourceVersion };
    }
  }

  async *watch(
    from: string,
    only: string | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<KubeNodeEvent> {
    const generation = this.#cutGeneration;
    const closeGeneration = this.#closeGeneration;
    let version = Number(from);
    if (version < this.#oldest) throw kubeError("expired", "too old resource version");
    if (version > this.#version) throw kubeError("server", "Too large resource version");
    if (this.endsWatches) return;
    this.#open++;
    let sent = 0;
    try {
      for (;;) {
        signal.throwIfAborted();
        if (generation !== this.#cutGeneration) throw kubeError("unreachable", "connection cut");
        if (closeGeneration !== this.#closeGeneration) return;
        const next = this.#changeAfter(version);
        if (next === undefined) {
          const { promise } = this.#wake;
          const aborted = Promise.withResolvers<void>();
          const onAbort = () => aborted.resolve();
          signal.addEventListener("abort", onAbort);
          await Promise.race([promise, aborted.promise]);
          signal.removeEventListener("abort", onAbort);
          continue;
        }
        version = next.version;
        const { event } = next;
        if (event.kind !== "bookmark" && only !== undefined && event.node.name !== only) continue;
        if (sent++ >= this.cutAfter) throw kubeError("unreachable", "connection cut");
        yield event;
      }
    } finally {
      this.#open--;
    }
  }

  patch(name: string, patch: KubeNodeStatusPatch, manager: string): KubeNode {
    const node = this.get(name);
    const { uid, annotations = {} } = patch.metadata ?? {};
    if (uid !== undefined && uid !== node.uid) {
      throw kubeError("invalid", `metadata.uid: Invalid value: "${uid}": field is immutable`);
    }
    const given = patch.status?.conditions ?? [];
    const types = new Set(given.map(({ type }) => type));
    const conditions = [
      ...node.conditions.filter(({ type }) => !types.has(type)),
      ...given.map((one) => one as unknown as KubeCondition),
    ];
    return this.#put({ ...node, ...this.#annotated(node, annotations, manager), conditions });
  }

  #annotated(
    node: KubeNode,
    changes: Readonly<Record<string, string | null>>,
    manager: string,
  ): Pick<KubeNode, "annotations" | "managedFields"> {
    const names = Object.keys(changes);
    if (names.length === 0) return node;
    const annotations: Record<string, string> = { ...node.annotations };
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) delete annotations[name];
      else annotations[name] = value;
    }
    const others = node.managedFields.map((one): KubeManagedFields => ({
      ...one,
      annotations: one.annotations.filter((name) => !names.includes(name)),
    }));
    const mine = others.find((one) => one.manager === manager)?.annotations ?? [];
    const managedFields = [
      ...others.filter((one) => one.manager !== manager),
      {
        manager,
        timeMs: this.#nowMs(),
        annotations: [...mine, ...names.filter((name) => changes[name] !== null)],
      },
    ];
    return { annotations, managedFields };
  }

  #changeAfter(version: number) {
    const at = (i: number) => (this.#history[i] as { readonly version: number }).version;
    return this.#history[lowerBound(this.#history.length, (i) => at(i) > version)];
  }

  #put(node: KubeNode): KubeNode {
    const stored = { ...node, ...this.#next() };
    this.#nodes.set(node.name, stored);
    this.#publish({ kind: "put", node: metadataOf(stored) });
    return stored;
  }

  #next(): { readonly resourceVersion: string } {
    return { resourceVersion: String(++this.#version) };
  }

  #publish(event: KubeNodeEvent): void {
    this.#history.push({ version: this.#version, event });
    this.#notify();
  }

  #notify(): void {
    const { resolve } = this.#wake;
    this.#wake = Promise.withResolvers();
    resolve();
  }

  /** The API has timestamps in seconds. */
  #nowMs(): number {
    return Math.floor(this.clock.wallMs() / 1000) * 1000;
  }
}

class FakeKubeClient implements KubeApi {
  readonly description = "the Kubernetes API in memory";
  isClosed = false;
  readonly #kube: FakeKube;
  readonly #manager: string;

  constructor(kube: FakeKube, manager: string) {
    this.#kube = kube;
    this.#manager = manager;
  }

  async node(name: string, signal: AbortSignal): Promise<KubeNode> {
    await this.#kube.called("node", `GET ${name}`, signal);
    return this.#kube.get(name);
  }

  async pod(
    { namespace, pod }: { readonly namespace: string; readonly pod: string },
    signal: AbortSignal,
  ): Promise<KubePod> {
    await this.#kube.called("pod", `GET pod ${namespace}/${pod}`, signal);
    const found = this.#kube.pods.get(`${namespace}/${pod}`);
    if (found === undefined) throw kubeError("not-found", `pods "${pod}" not found`);
    return found;
  }

  async *listNodes(
    signal: AbortSignal,
    { notOlderThan = "0" }: { readonly notOlderThan?: string } = {},
  ): AsyncGenerator<KubeNodePage<KubeNode>> {
    await this.#kube.called("listNodes", "LIST", signal);
    yield* this.#kube.pages((node) => node, { notOlderThan: Number(notOlderThan) });
  }

  async *listNodeMetadata(signal: AbortSignal): AsyncGenerator<KubeNodePage<KubeNodeMetadata>> {
    await this.#kube.called("listNodeMetadata", "LIST metadata", signal);
    yield* this.#kube.pages(metadataOf);
  }

  async *watchNodes(
    resourceVersion: string,
    signal: AbortSignal,
    { name, onOpened }: KubeWatchOptions = {},
  ): AsyncGenerator<KubeNodeEvent> {
    const suffix = name === undefined ? "" : ` ${name}`;
    await this.#kube.called("watchNodes", `WATCH${suffix}`, signal).catch((error) => {
      // That comes as an event.
      if (error instanceof KubeError && error.kind === "expired") onOpened?.();
      throw error;
    });
    onOpened?.();
    yield* this.#kube.watch(resourceVersion, name, signal);
  }

  async patchNodeStatus(
    name: string,
    patch: KubeNodeStatusPatch,
    signal: AbortSignal,
  ): Promise<KubeNode> {
    await this.#kube.called("patch", `PATCH ${name} ${JSON.stringify(patch)}`, signal);
    return this.#kube.patch(name, patch, this.#manager);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }
}

export function kubeError(kind: KubeFailure, message: string, retryAfterMs?: number): KubeError {
  return new KubeError(message, { kind, status: STATUS[kind], retryAfterMs });
}

function metadataOf(node: KubeNode): KubeNodeMetadata {
  const { podCidrs: _podCidrs, conditions: _conditions, ...metadata } = node;
  return metadata;
}
