/** Watches of one server, with everything that each has received. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { WatchCreateRequestSchema, WatchRequestSchema } from "../../src/etcd/api/rpc_pb.ts";
import { type RawClient, Requests } from "./raw_client.ts";

/** For a machine that serves a thousand streams and runs other programs. */
const PATIENCE_MS = 60_000;

export type WatchInit = MessageInitShape<typeof WatchCreateRequestSchema>;

export class ComparedWatches implements Disposable {
  readonly #requests = new Requests<MessageInitShape<typeof WatchRequestSchema>>();
  readonly #received = new Map<bigint, string[]>();
  readonly #lastRevision = new Map<bigint, bigint>();
  #creating = 0n;
  readonly #waiting = new Set<{ readonly check: () => boolean; readonly resolve: () => void }>();
  readonly #stop = new AbortController();
  readonly #reading: Promise<void>;

  constructor(client: RawClient) {
    const responses = client.watch.watch(this.#requests, { signal: this.#stop.signal });
    this.#reading = this.#read(responses).catch(() => {});
  }

  [Symbol.dispose](): void {
    this.#requests.end();
    this.#stop.abort();
  }

  /** Creates a watch with this id and waits for the response. */
  async create(id: bigint, request: WatchInit): Promise<void> {
    this.#received.set(id, []);
    this.#creating = id;
    const value = { ...request, watchId: id };
    this.#requests.send({ requestUnion: { case: "createRequest", value } });
    await this.#receives(`watch ${id} is created`, () => this.of(id).length > 0);
  }

  cancel(id: bigint): void {
    this.#requests.send({ requestUnion: { case: "cancelRequest", value: { watchId: id } } });
  }

  /** Everything that a watch has received, one line for each event. */
  of(id: bigint): readonly string[] {
    return this.#received.get(id) ?? [];
  }

  /** Waits until the watch has received this revision, or was cancelled by the server. */
  async reached(id: bigint, revision: bigint): Promise<void> {
    await this.#receives(
      `watch ${id} receives revision ${revision}`,
      () =>
        (this.#lastRevision.get(id) ?? 0n) >= revision ||
        this.of(id).some((line) => line.startsWith("cancelled")),
    );
  }

  /** Checks after each response; rejects with `what` after the timeout. */
  async #receives(what: string, check: () => boolean): Promise<void> {
    if (check()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const fault = new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    const timer = setTimeout(() => reject(fault), PATIENCE_MS);
    const waiting = { check, resolve };
    this.#waiting.add(waiting);
    await promise.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(waiting);
    });
  }

  async #read(responses: ReturnType<RawClient["watch"]["watch"]>): Promise<void> {
    for await (const response of responses) {
      const { created, canceled, cancelReason, compactRevision, events } = response;
      // A rejected watch has no id.
      const watchId = response.watchId === -1n ? this.#creating : response.watchId;
      const lines = this.#received.get(watchId) ?? [];
      this.#received.set(watchId, lines);
      if (created) lines.push("created");
      if (canceled) {
        lines.push(`cancelled, compacted ${compactRevision}${created ? `: ${cancelReason}` : ""}`);
      }
      for (const { type, kv, prevKv } of events) {
        lines.push(`${type} ${entryText(kv)} was ${entryText(prevKv)}`);
        this.#lastRevision.set(watchId, kv?.modRevision ?? 0n);
      }
      for (const { check, resolve } of this.#waiting) {
        if (check()) resolve();
      }
    }
  }
}

function entryText(
  kv: { key: Uint8Array; value: Uint8Array } & Record<string, unknown> | undefined,
) {
  if (kv === undefined) return "nothing";
  const { key, value, createRevision, modRevision, version, lease } = kv;
  return `${key.toHex()}=${value.toHex()} c${createRevision} m${modRevision} v${version} l${lease}`;
}
