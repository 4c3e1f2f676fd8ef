/**
 * The calls of `KubeApi` over HTTPS, one attempt each.
 *
 * Nodes are listed without their status and watched without spec and status, because a node has
 * 14 kB and changes every few seconds, and the daemon needs one of them when that changes.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/
 */

import type { Clock } from "../base/clock.ts";
import { freeDroppedMemory } from "../base/dropped_memory.ts";
import { printableName, quoted } from "../base/quoting.ts";
import type { Log } from "../log/log.ts";
import { RateLimitedWarnings } from "../log/rate_limited_warnings.ts";
import type {
  KubeApi,
  KubeListedNode,
  KubeNode,
  KubeNodeEvent,
  KubeNodeMetadata,
  KubeNodePage,
  KubeNodeStatusPatch,
  KubePod,
  KubeWatchOptions,
} from "./kube_api.ts";
import { KubeCalls, type KubeCallsOptions, type KubeRequest } from "./kube_calls.ts";
import type { KubeError } from "./kube_error.ts";
import type { KubeExchange } from "./kube_exchange.ts";
import { callError, decodeStatus, type KubeRule, statusError } from "./kube_failure.ts";
import { MalformedObject } from "./malformed_object.ts";
import {
  decodeListedNode,
  decodeListPage,
  decodeNode,
  decodeNodeMetadata,
  decodePod,
  decodeWatchLine,
  objectName,
} from "./node_decoding.ts";
import { PROTOBUF_TYPE, ProtobufNodeList } from "./protobuf_node_list.ts";
import { WatchLines } from "./watch_lines.ts";

export interface KubeClientOptions extends KubeCallsOptions {
  readonly log: Log;
}

export class KubeClient implements KubeApi {
  readonly #clock: Clock;
  readonly #calls: KubeCalls;
  readonly #warnings: RateLimitedWarnings;

  constructor(options: KubeClientOptions) {
    this.#clock = options.clock;
    this.#calls = new KubeCalls(options);
    this.#warnings = new RateLimitedWarnings(options);
  }

  /** Its URL as it is known now. */
  get server(): string {
    return this.#calls.server;
  }

  get description(): string {
    return `the Kubernetes API at ${this.server}`;
  }

  node(name: string, signal: AbortSignal): Promise<KubeNode> {
    return this.#calls.read(getNode(name), decodeNode, signal);
  }

  pod(
    name: { readonly namespace: string; readonly pod: string },
    signal: AbortSignal,
  ): Promise<KubePod> {
    return this.#calls.read(getPod(name), decodePod, signal);
  }

  patchNodeStatus(
    name: string,
    patch: KubeNodeStatusPatch,
    signal: AbortSignal,
  ): Promise<KubeNode> {
    return this.#calls.read(patchNode(name, patch), decodeNode, signal);
  }

  listNodes(
    signal: AbortSignal,
    { notOlderThan }: { readonly notOlderThan?: string } = {},
  ): AsyncIterable<KubeNodePage<KubeListedNode>> {
    const query = notOlderThan === undefined
      ? { resourceVersion: "0" }
      : { resourceVersion: notOlderThan, resourceVersionMatch: "NotOlderThan" };
    return this.#list({ accept: NODE_LIST, query, decode: decodeListedNode }, signal);
  }

  listNodeMetadata(signal: AbortSignal): AsyncIterable<KubeNodePage<KubeNodeMetadata>> {
    return this.#list({ accept: METADATA_LIST, decode: decodeNodeMetadata }, signal);
  }

  async *watchNodes(
    resourceVersion: string,
    signal: AbortSignal,
    { name, onOpened }: KubeWatchOptions = {},
  ): AsyncGenerator<KubeNodeEvent, void, undefined> {
    const request = watchRequest({ resourceVersion, name }, this.#clock);
    using exchange = await this.#calls.open(request, signal);
    onOpened?.();
    const lines = new WatchLines({ maxLineBytes: MAX_LINE_BYTES });
    try {
      for await (const piece of exchange.pieces()) {
        for (const line of lines.push(piece)) {
          const event = this.#event(line, request);
          if (event !== undefined) yield event;
        }
      }
    } catch (cause) {
      throw this.#calls.failure(request, cause, signal);
    }
    if (lines.isInLine) throw this.#cutShort(request, "an event");
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#calls[Symbol.dispose]();
    this.#warnings[Symbol.dispose]();
    return Promise.resolve();
  }

  async *#list<T>(
    list: NodeList<T>,
    signal: AbortSignal,
  ): AsyncGenerator<KubeNodePage<T>, void, undefined> {
    let token = "";
    let version: string | undefined;
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const request = listRequest(list, token);
      for await (
        const { nodes, continueToken, resourceVersion } of this.#page(list, request, signal)
      ) {
        version ??= resourceVersion;
        if (version !== resourceVersion) {
          const reason =
            `a page of the list has the resource version ${quoted(resourceVersion)}, ` +
            `the first one ${quoted(version)}`;
          throw this.#calls.protocolError(request, reason);
        }
        token = continueToken;
        yield { nodes, resourceVersion };
      }
      // What was read is twenty times as large as what stays of it.
      freeDroppedMemory();
      if (token === "") return;
    }
    const reason = `the list has more than ${MAX_PAGES} pages`;
    throw this.#calls.protocolError(listRequest(list, token), reason);
  }

  /** One page, in one part or in several; at least one. */
  async *#page<T>(
    { decode }: NodeList<T>,
    request: KubeRequest,
    signal: AbortSignal,
  ): AsyncGenerator<PagePart<T>, void, undefined> {
    using exchange = await this.#calls.open(request, signal);
    if (exchange.response.headers.get("Content-Type")?.startsWith(PROTOBUF_TYPE)) {
      return yield* this.#protobufPage(exchange, decode, request, signal);
    }
    yield await this.#calls.readJson(request, exchange, (value) => {
      const { items, ...page } = decodeListPage(value);
      return { ...page, nodes: this.#decodeItems(items, decode) };
    }, signal);
  }

  async *#protobufPage<T>(
    exchange: KubeExchange,
    decode: (value: unknown) => T,
    request: KubeRequest,
    signal: AbortSignal,
  ): AsyncGenerator<PagePart<T>, void, undefined> {
    const list = new ProtobufNodeList();
    try {
      for await (const piece of exchange.pieces()) {
        const nodes = this.#decodeItems(list.push(piece), decode);
        const { resourceVersion, continueToken, isComplete } = list;
        if (nodes.length > 0 || isComplete) yield { nodes, resourceVersion, continueToken };
      }
    } catch (cause) {
      throw this.#calls.failure(request, cause, signal);
    }
    if (!list.isComplete) throw this.#cutShort(request, "the list");
  }

  /** Throws `KubeError` for an event of type ERROR, which ends the watch. */
  #event(line: string, request: KubeRequest): KubeNodeEvent | undefined {
    const event = this.#calls.decodeText(request, line, decodeWatchLine);
    if (event.type === "BOOKMARK") {
      return { kind: "bookmark", resourceVersion: event.resourceVersion };
    }
    if (event.type === "ERROR") throw errorEvent(request, this.#calls.server, event.object);
    const node = this.#decodeItem(event.object, decodeNodeMetadata);
    return node && { kind: event.type === "DELETED" ? "delete" : "put", node };
  }

  #cutShort(request: KubeRequest, what: string): KubeError {
    const reason = `the server ended the response in the middle of ${what}`;
    return callError(request, this.#calls.server, { kind: "unreachable", reason });
  }

  /** Malformed objects are left out, with a warning. */
  #decodeItems<T>(items: readonly unknown[], decode: (value: unknown) => T): T[] {
    return items.flatMap((item) => this.#decodeItem(item, decode) ?? []);
  }

  #decodeItem<T>(item: unknown, decode: (value: unknown) => T): T | undefined {
    try {
      return decode(item);
    } catch (error) {
      if (!(error instanceof MalformedObject)) throw error;
      const name = objectName(item);
      this.#warnings.warn({ what: "ignoring node", name, reason: error.message });
      return undefined;
    }
  }
}

/** What is listed, and how an item of it is read. */
interface NodeList<T> {
  readonly accept: string;
  /** Of the first page. */
  readonly query?: Readonly<Record<string, string>>;
  readonly decode: (value: unknown) => T;
}

interface PagePart<T> extends KubeNodePage<T> {
  /** For the next page; empty on the last one. */
  readonly continueToken: string;
}

const NODES = "/api/v1/nodes";
const FIELD_MANAGER = "flanneld";
const PAGE_NODES = 500;
/** A million nodes. */
const MAX_PAGES = 2000;
/** An API server limits an object to 3 MB, the size of a request. */
const MAX_LINE_BYTES = 8 * 1024 * 1024;

const JSON_TYPE = "application/json";
/** A server that does not know the first type sends whole nodes, which are read in the same way. */
const METADATA_LIST = `${JSON_TYPE};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,${JSON_TYPE}`;
/** From version 0, which is what the server has in its cache, it sends all nodes as one page. */
const NODE_LIST = `${PROTOBUF_TYPE},${JSON_TYPE}`;
const METADATA = `${JSON_TYPE};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,${JSON_TYPE}`;

const CALL_LIMITS = { responseMs: 30_000, silenceMs: 30_000, totalMs: 120_000 };
/** A server sends a bookmark each minute: without any data for longer, the connection is dead. */
const WATCH_LIMITS = {
  responseMs: 30_000,
  silenceMs: 150_000,
  // A server answers a watch at once, and some proxies keep a response back until it ends.
  responseHint: "if lists of nodes work, check whether a proxy in front of the API server passes " +
    "on responses that do not end",
};
const WATCH_SECONDS = { min: 300, max: 600 };

function getNode(name: string): KubeRequest {
  const path = `${NODES}/${encodeURIComponent(name)}`;
  return { ...get(path, { resource: "nodes", verb: "get" }), what: `get node ${shown(name)}` };
}

function getPod(
  { namespace, pod }: { readonly namespace: string; readonly pod: string },
): KubeRequest {
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/` +
    encodeURIComponent(pod);
  const what = `get pod ${shown(namespace)}/${shown(pod)}`;
  return { ...get(path, { resource: "pods", verb: "get" }), what };
}

function listRequest({ accept, query }: NodeList<unknown>, token: string): KubeRequest {
  return {
    ...get(NODES, { resource: "nodes", verb: "list" }),
    what: "list nodes",
    accept,
    query: { limit: String(PAGE_NODES), ...(token === "" ? query : { continue: token }) },
  };
}

function watchRequest(
  { resourceVersion, name }: {
    readonly resourceVersion: string;
    readonly name: string | undefined;
  },
  clock: Pick<Clock, "random">,
): KubeRequest {
  const { min, max } = WATCH_SECONDS;
  // At different times, so that the nodes of a cluster do not reconnect at once.
  const timeoutSeconds = String(Math.floor(min + clock.random() * (max - min)));
  return {
    ...get(NODES, { resource: "nodes", verb: "watch" }),
    what: "watch nodes",
    call: `GET ${NODES}?watch=true`,
    accept: METADATA,
    query: {
      allowWatchBookmarks: "true",
      resourceVersion,
      timeoutSeconds,
      watch: "true",
      ...(name !== undefined && { fieldSelector: `metadata.name=${name}` }),
    },
    limits: WATCH_LIMITS,
  };
}

function patchNode(name: string, patch: KubeNodeStatusPatch): KubeRequest {
  const path = `${NODES}/${encodeURIComponent(name)}/status`;
  return {
    method: "PATCH",
    path,
    call: `PATCH ${path}`,
    patch,
    limits: CALL_LIMITS,
    query: { fieldManager: FIELD_MANAGER },
    what: `patch the status of node ${shown(name)}`,
    rule: { resource: "nodes/status", verb: "patch" },
  };
}

function get(path: string, rule: KubeRule): Omit<KubeRequest, "what"> {
  return { method: "GET", path, call: `GET ${path}`, rule, limits: CALL_LIMITS };
}

function errorEvent(request: KubeRequest, server: string, object: unknown): KubeError {
  const status = decodeStatus(object);
  const code = status.code ?? 500;
  return statusError(request, server, { status, code, retryAfterMs: undefined });
}

function shown(name: string): string {
  return printableName(name, 253); // The longest name of a node (RFC 1123).
}
