/**
 * Follows changes of nodes for as long as it takes: a list, then watches from its revision. A watch
 * that is cut continues where it was. Only if the server no longer has what came since, or keeps
 * refusing that revision, everything is listed again.
 */

import { assertNever } from "../../base/assert_never.ts";
import { type Clock, sleep } from "../../base/clock.ts";
import type { KubeNodeEvent, KubeNodeMetadata } from "../../kube/kube_api.ts";
import { KubeError } from "../../kube/kube_error.ts";
import type { Log } from "../../log/log.ts";
import { RepeatedFailure } from "../../log/repeated_failure.ts";
import { retryPauseMs } from "../store_retry.ts";
import { retryOfKube } from "./kube_store_failure.ts";

export interface NodeEventsOptions {
  /** As the subject of "… failed". */
  readonly what: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Lists the nodes. Returns the resource version from which changes are to be watched. */
  list(signal: AbortSignal): Promise<string>;
  /** `onOpened` is called when the server has begun to answer. */
  watch(resourceVersion: string, onOpened: () => void): AsyncIterable<KubeNodeEvent>;
  put(node: KubeNodeMetadata): void;
  delete(node: KubeNodeMetadata): void;
  /** How many nodes there are: in a large cluster, they do not list at the same time. */
  count(): number;
  /** Why changes are not received, if the API server refuses them; `undefined` if it does not. */
  onRefused(problem: string | undefined): void;
}

/** Until the signal aborts; rejects with its reason. Throws any error that is not a `KubeError`. */
export async function followNodes(options: NodeEventsOptions, signal: AbortSignal): Promise<never> {
  const { clock, log } = options;
  using failures = new WatchFailures(options);
  let revision: string | undefined;
  let emptyWatches = 0;
  for (;;) {
    signal.throwIfAborted();
    try {
      revision ??= await options.list(signal);
      const openedMs = clock.nowMs();
      for await (const event of options.watch(revision, () => failures.opened())) {
        revision = apply(event, options);
        emptyWatches = 0;
        failures.succeeded();
        if (signal.aborted) break;
      }
      failures.closed();
      // The server closes a watch every few minutes.
      const isShort = clock.nowMs() - openedMs < MIN_WATCH_MS;
      emptyWatches = isShort ? emptyWatches + 1 : 0;
      if (emptyWatches > MAX_EMPTY_WATCHES) throw endedAtOnce();
      if (isShort) await sleep(clock, MIN_WATCH_MS, signal);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof KubeError)) throw error;
      const pauseMs = failures.failed(error);
      if (revision !== undefined && failures.requireList(error)) {
        log.debug({ err: error }, "changes of nodes may have been missed; listing the nodes again");
        revision = undefined;
      }
      await sleep(clock, pauseMs, signal);
    }
  }
}

/** Returns the resource version after the event. */
function apply(event: KubeNodeEvent, options: NodeEventsOptions): string {
  switch (event.kind) {
    case "put":
      options.put(event.node);
      return event.node.resourceVersion;
    case "delete":
      options.delete(event.node);
      return event.node.resourceVersion;
    case "bookmark":
      return event.resourceVersion;
    default:
      return assertNever(event);
  }
}

/** Failures since the watch last worked. */
class WatchFailures implements Disposable {
  readonly #options: NodeEventsOptions;
  readonly #failure: RepeatedFailure;
  #hasWorked = false;
  #hasExpired = false;
  /** How many attempts the server refused, maybe for their revision. */
  #refusals = 0;
  #deniedSinceMs: number | undefined;
  /** The time that an opened watch without an event has to fail. */
  #opened: Disposable | undefined;

  constructor(options: NodeEventsOptions) {
    this.#options = options;
    const { what, log, clock } = options;
    this.#failure = new RepeatedFailure({ what, log, clock });
  }

  [Symbol.dispose](): void {
    this.closed();
  }

  /** The watch works unless it fails at once: in an idle cluster, an event may take a minute. */
  opened(): void {
    this.closed();
    this.#opened = this.#options.clock.setTimer(OPENED_MS, () => this.succeeded());
  }

  /** A watch has ended, or need not show any more that it works. */
  closed(): void {
    this.#opened?.[Symbol.dispose]();
  }

  succeeded(): void {
    this.closed();
    this.#hasWorked = true;
    this.#hasExpired = false;
    this.#refusals = 0;
    this.#deniedSinceMs = undefined;
    this.#options.onRefused(undefined);
    this.#failure.succeeded();
  }

  /** Logs the failure. Returns the time until the next attempt, in milliseconds. */
  failed(error: KubeError): number {
    const { clock, log } = this.#options;
    this.closed();
    if (isRefusal(error)) this.#refusals++;
    if (error.kind === "expired" && this.#hasWorked && !this.#hasExpired) {
      this.#hasExpired = true;
      return this.#spreadMs();
    }
    if (this.#hasWorked && this.#deniedMs(error) < START_MS) {
      log.debug({ err: error }, "an API server that has just started does not know its roles yet");
    } else {
      this.#failure.failed(error);
      if (isDenial(error)) this.#options.onRefused(`${this.#options.what}: ${error.message}`);
    }
    const failures = Math.max(this.#failure.failures, 1);
    return retryPauseMs(failures, retryOfKube(error) ?? {}, { ...BACKOFF, clock });
  }

  /** Whether a watch that failed like this is to be replaced by a list. */
  requireList({ kind }: KubeError): boolean {
    if (kind !== "expired" && this.#refusals < MAX_REFUSALS) return false;
    this.#refusals = 0;
    return true;
  }

  /** For how long the API server has denied permission. */
  #deniedMs(error: KubeError): number {
    const nowMs = this.#options.clock.nowMs();
    if (!isDenial(error)) {
      this.#deniedSinceMs = undefined;
      return Infinity;
    }
    this.#deniedSinceMs ??= nowMs;
    return nowMs - this.#deniedSinceMs;
  }

  #spreadMs(): number {
    const { count, clock } = this.#options;
    return Math.min(count() * SPREAD_MS_PER_NODE, MAX_SPREAD_MS) * clock.random();
  }
}

/** An API server that shuts down may do it once; a proxy that does it always must be noticed. */
function endedAtOnce(): KubeError {
  const message = "the server ends each watch at once, without a change; listing the nodes now " +
    "and then instead; check whether a proxy in front of the API server passes on responses that " +
    "do not end";
  return new KubeError(message, { kind: "protocol" });
}

function isDenial({ kind }: KubeError): boolean {
  return kind === "forbidden" || kind === "unauthorized";
}

/**
 * Whether the server may refuse the revision itself: after a restore from a backup, it is one that
 * the server does not have yet.
 */
function isRefusal({ kind }: KubeError): boolean {
  return kind === "server" || kind === "protocol" || kind === "invalid" || kind === "conflict";
}

const BACKOFF = { firstMs: 500, maxMs: 5_000 };
const MIN_WATCH_MS = 1_000;
const MAX_EMPTY_WATCHES = 3;
const START_MS = 10_000;
/** If a revision is no longer available, the server says so right after its response begins. */
const OPENED_MS = 1_000;
const MAX_REFUSALS = 4;
/** A list of 5 000 nodes costs the server some seconds of processor time in all. */
const SPREAD_MS_PER_NODE = 2;
const MAX_SPREAD_MS = 10_000;
