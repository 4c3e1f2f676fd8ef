/**
 * Reads the pod CIDRs of nodes that a watch has reported: it reports metadata only. Reads several
 * nodes at a time, and each one again after it has changed and at growing intervals, until it has
 * pod CIDRs or is gone.
 */

import { backoffMs, type Clock, sleep } from "../../base/clock.ts";
import type { KubeApi } from "../../kube/kube_api.ts";
import { KubeError } from "../../kube/kube_error.ts";
import type { Log } from "../../log/log.ts";
import { RepeatedFailure } from "../../log/repeated_failure.ts";
import { isKubeError } from "./kube_store_failure.ts";
import type { NodeRecords } from "./node_records.ts";

export interface PodCidrReaderOptions {
  readonly api: Pick<KubeApi, "node">;
  readonly records: NodeRecords;
  /** The record of a node may have changed. */
  readonly onRead: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export class PodCidrReader {
  readonly #options: PodCidrReaderOptions;
  readonly #failure: RepeatedFailure;
  /** Nodes that have been read without a result. */
  readonly #waiting = new Map<string, WaitingNode>();
  /** Ends the pause before the next attempts. */
  #wake = new AbortController();

  constructor(options: PodCidrReaderOptions) {
    this.#options = options;
    const what = "reading the pod CIDRs of a node";
    this.#failure = new RepeatedFailure({ ...options, what });
  }

  /** A node without pod CIDRs is new or has changed: it may have them by now. */
  nodeChanged(name: string): void {
    const waiting = this.#waiting.get(name);
    if (waiting !== undefined) {
      const atMs = Math.min(waiting.atMs, waiting.readMs + RETRY.firstMs);
      this.#waiting.set(name, { ...waiting, atMs });
    }
    this.#wake.abort();
  }

  /** Until the signal aborts. Throws any error that is not a `KubeError`. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, records } = this.#options;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      await this.readDue(signal);
      const incomplete = records.incomplete;
      const nextMs = Math.min(...incomplete.map((name) => this.#waiting.get(name)?.atMs ?? 0));
      const pauseMs = Math.min(Math.max(nextMs - clock.nowMs(), 0), LONGEST_PAUSE_MS);
      await sleep(clock, pauseMs, AbortSignal.any([signal, this.#wake.signal]));
    }
  }

  /** Reads each node that is due once. */
  async readDue(signal: AbortSignal): Promise<void> {
    const { clock, records } = this.#options;
    const incomplete = new Set(records.incomplete);
    for (const name of this.#waiting.keys()) if (!incomplete.has(name)) this.#waiting.delete(name);
    const nowMs = clock.nowMs();
    const due = [...incomplete].filter((name) => (this.#waiting.get(name)?.atMs ?? 0) <= nowMs);
    const workers = Array.from({ length: Math.min(CONCURRENCY, due.length) }, async () => {
      for (let name = due.pop(); name !== undefined && !signal.aborted; name = due.pop()) {
        await this.#read(name, signal);
      }
    });
    await Promise.all(workers);
  }

  async #read(name: string, signal: AbortSignal): Promise<void> {
    const { api, records, onRead, clock } = this.#options;
    try {
      records.complete(await api.node(name, signal));
      onRead();
      this.#failure.succeeded();
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof KubeError)) throw error;
      // The watch will report that it was deleted.
      if (!isKubeError(error, "not-found")) this.#failure.failed(error);
    }
    if (!records.isIncomplete(name)) {
      this.#waiting.delete(name);
      return;
    }
    const attempts = (this.#waiting.get(name)?.attempts ?? 0) + 1;
    const readMs = clock.nowMs();
    this.#waiting.set(name, {
      attempts,
      readMs,
      atMs: readMs + backoffMs(attempts, RETRY, clock),
    });
  }
}

interface WaitingNode {
  readonly attempts: number;
  /** When it was read last. */
  readonly readMs: number;
  /** When it is read again at the latest. */
  readonly atMs: number;
}

const CONCURRENCY = 8;
const RETRY = { firstMs: 500, maxMs: 30_000 };
const LONGEST_PAUSE_MS = 3_600_000;
