/** Watches of one server, with everything that each of them was told. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  WatchCreateRequestSchema,
  WatchRequestSchema,
} from "../../src/subnet/etcd/rpc/rpc_pb.ts";
import { eventually } from "../support/wait.ts";
import { type RawClient, Requests } from "./raw_client.ts";

export type WatchInit = MessageInitShape<typeof WatchCreateRequestSchema>;

export class ComparedWatches implements Disposable {
  readonly #requests = new Requests<MessageInitShape<typeof WatchRequestSchema>>();
  readonly #told = new Map<bigint, string[]>();
  readonly #lastRevision = new Map<bigint, bigint>();
  #creating = 0n;
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

  /** Begins a watch under this id and waits for the server's word. */
  async create(id: bigint, request: WatchInit): Promise<void> {
    this.#told.set(id, []);
    this.#creating = id;
    const value = { ...request, watchId: id };
    this.#requests.send({ requestUnion: { case: "createRequest", value } });
    await eventually(`watch ${id} is created`, 5_000, () => this.of(id).length > 0);
  }

  cancel(id: bigint): void {
    this.#requests.send({ requestUnion: { case: "cancelRequest", value: { watchId: id } } });
  }

  /** Everything that a watch was told, one line for each event. */
  of(id: bigint): readonly string[] {
    return this.#told.get(id) ?? [];
  }

  /** Waits until the watch has heard of this revision, or was ended by the server. */
  async reached(id: bigint, revision: bigint): Promise<void> {
    await eventually(
      `watch ${id} hears of revision ${revision}: ${this.of(id).slice(-3)}`,
      5_000,
      () =>
        (this.#lastRevision.get(id) ?? 0n) >= revision ||
        this.of(id).some((line) => line.startsWith("cancelled")),
    );
  }

  async #read(responses: ReturnType<RawClient["watch"]["watch"]>): Promise<void> {
    for await (const response of responses) {
      const { created, canceled, cancelReason, compactRevision, events } = response;
      // A watch that was refused has no id.
      const watchId = response.watchId === -1n ? this.#creating : response.watchId;
      const lines = this.#told.get(watchId) ?? [];
      this.#told.set(watchId, lines);
      if (created) lines.push("created");
      if (canceled) {
        lines.push(`cancelled, compacted ${compactRevision}${created ? `: ${cancelReason}` : ""}`);
      }
      for (const { type, kv, prevKv } of events) {
        lines.push(`${type} ${entryText(kv)} was ${entryText(prevKv)}`);
        this.#lastRevision.set(watchId, kv?.modRevision ?? 0n);
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
