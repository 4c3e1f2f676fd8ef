/**
 * A gRPC server instead of etcd, whose responses a test falsifies: real frames on a real
 * connection, with responses that a real etcd cannot be made to send.
 */

import type { ServiceImpl } from "@connectrpc/connect";
import { systemClock } from "../../src/base/clock.ts";
import { GrpcServer, type GrpcServerTls } from "../../src/datastore/rpc/grpc_server.ts";
import { Event_EventType as EventType } from "../../src/etcd/api/kv_pb.ts";
import { Auth, KV, Lease, Watch } from "../../src/etcd/api/rpc_pb.ts";
import { collectingLog } from "./collecting_log.ts";

export interface ScriptedHeader {
  readonly clusterId?: bigint;
  readonly memberId?: bigint;
  readonly revision?: bigint;
  readonly raftTerm?: bigint;
}

export interface ScriptedKeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  readonly version: bigint;
}

interface Answer {
  readonly header?: ScriptedHeader;
}

interface Range extends Answer {
  readonly kvs: ScriptedKeyValue[];
  readonly more?: boolean;
  readonly count?: bigint;
}

interface Txn extends Answer {
  readonly succeeded: boolean;
  readonly responses: { readonly response: Result }[];
}

type Result =
  | { readonly case: "responseRange"; readonly value: Range }
  | { readonly case: "responsePut"; readonly value: Answer }
  | { readonly case: "responseDeleteRange"; readonly value: Answer };

interface LeaseTime extends Answer {
  readonly ID: bigint;
  readonly TTL: bigint;
}

interface LeaseTimes extends LeaseTime {
  readonly grantedTTL: bigint;
}

export interface ScriptedWatchResponse extends Answer {
  readonly created?: boolean;
  readonly events?: { readonly type?: EventType; readonly kv?: ScriptedKeyValue }[];
}

/** What is sent instead of the normal response; called for each response. */
export interface Script {
  range?(answer: Range, count: number): Range;
  txn?(answer: Txn, count: number): Txn;
  grant?(answer: LeaseTime): LeaseTime;
  keepAlive?(answer: LeaseTime): LeaseTime;
  timeToLive?(answer: LeaseTimes): LeaseTimes;
  /** Throws `ConnectError` for a refusal. */
  revoke?(id: bigint): void;
  /** The confirmation of a watch. */
  created?(answer: ScriptedWatchResponse, count: number): ScriptedWatchResponse;
}

export class ScriptedEtcd implements AsyncDisposable {
  clusterId = 7n;
  revision = 10n;
  /** The response to a Range of any key or prefix. */
  keyValues: ScriptedKeyValue[] = [];
  script: Script = {};
  /** Users with their passwords, in the order of the requests for a token. */
  readonly logins: string[] = [];
  readonly calls = { range: 0, txn: 0, watch: 0 };
  readonly #watches = new Set<(response: ScriptedWatchResponse | undefined) => void>();
  #server: GrpcServer | undefined;
  #scheme = "http";

  static async start(tls?: GrpcServerTls): Promise<ScriptedEtcd> {
    const etcd = new ScriptedEtcd();
    etcd.#scheme = tls === undefined ? "http" : "https";
    etcd.#server = await GrpcServer.start({
      host: "127.0.0.1",
      port: 0,
      tls,
      clock: systemClock,
      routes: (router) => {
        router.service(KV, etcd.#keys());
        router.service(Lease, etcd.#leases());
        router.service(Watch, etcd.#watch());
        router.service(Auth, etcd.#users());
      },
      streams: new Map(),
      log: collectingLog().log,
    });
    return etcd;
  }

  get port(): number {
    return this.#server?.port as number;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}`;
  }

  header(): ScriptedHeader {
    return { clusterId: this.clusterId, memberId: 1n, revision: this.revision, raftTerm: 1n };
  }

  /** Sends it on every open watch. */
  send(response: ScriptedWatchResponse): void {
    for (const deliver of this.#watches) deliver({ header: this.header(), ...response });
  }

  /** Ends every open watch. */
  endWatches(): void {
    for (const deliver of this.#watches) deliver(undefined);
  }

  /** Puts a key at the next revision and sends the event. */
  put(key: string, value = ""): void {
    this.revision++;
    const keyValue = scriptedKeyValue(key, { modRevision: this.revision, value });
    this.keyValues = [...this.keyValues, keyValue];
    this.send({ events: [{ type: EventType.PUT, kv: keyValue }] });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.endWatches();
    await this.#server?.[Symbol.asyncDispose]();
  }

  #keys(): Partial<ServiceImpl<typeof KV>> {
    const header = () => this.header();
    return {
      range: () => {
        this.calls.range++;
        const kvs = [...this.keyValues];
        const answer = { header: header(), kvs, count: BigInt(kvs.length) };
        return this.script.range?.(answer, this.calls.range) ?? answer;
      },
      txn: ({ success }) => {
        this.calls.txn++;
        this.revision++;
        const responses = success.map(({ request }) => ({ response: this.#result(request.case) }));
        const answer = { header: header(), succeeded: true, responses };
        return this.script.txn?.(answer, this.calls.txn) ?? answer;
      },
    };
  }

  #result(operation: string | undefined): Result {
    switch (operation) {
      case "requestRange":
        return { case: "responseRange", value: { kvs: [...this.keyValues] } };
      case "requestDeleteRange":
        return { case: "responseDeleteRange", value: {} };
      default:
        return { case: "responsePut", value: {} };
    }
  }

  #leases(): Partial<ServiceImpl<typeof Lease>> {
    const header = () => this.header();
    const script = () => this.script;
    return {
      leaseGrant: ({ ID, TTL }) => {
        const answer = { header: header(), ID: ID || 77n, TTL };
        return script().grant?.(answer) ?? answer;
      },
      leaseKeepAlive: async function* (requests) {
        for await (const { ID } of requests) {
          const answer = { header: header(), ID, TTL: 60n };
          yield script().keepAlive?.(answer) ?? answer;
        }
      },
      leaseRevoke: ({ ID }) => {
        script().revoke?.(ID);
        return { header: header() };
      },
      leaseTimeToLive: ({ ID }) => {
        const answer = { header: header(), ID, TTL: 50n, grantedTTL: 60n };
        return script().timeToLive?.(answer) ?? answer;
      },
    };
  }

  #users(): Partial<ServiceImpl<typeof Auth>> {
    return {
      authenticate: ({ name, password }) => {
        this.logins.push(`${name}:${password}`);
        return { header: this.header(), token: "a token" };
      },
    };
  }

  #watch(): Partial<ServiceImpl<typeof Watch>> {
    // deno-lint-ignore no-this-alias
    const etcd = this;
    return {
      watch: async function* (requests) {
        for await (const _request of requests) {
          etcd.calls.watch++;
          yield* etcd.#responses();
          return;
        }
      },
    };
  }

  async *#responses(): AsyncGenerator<ScriptedWatchResponse> {
    const queue: (ScriptedWatchResponse | undefined)[] = [];
    let wake = Promise.withResolvers<void>();
    const deliver = (response: ScriptedWatchResponse | undefined) => {
      queue.push(response);
      wake.resolve();
    };
    const created = { header: this.header(), created: true };
    this.#watches.add(deliver);
    try {
      yield this.script.created?.(created, this.calls.watch) ?? created;
      for (;;) {
        while (queue.length > 0) {
          const response = queue.shift();
          if (response === undefined) return;
          yield response;
        }
        await wake.promise;
        wake = Promise.withResolvers<void>();
      }
    } finally {
      this.#watches.delete(deliver);
    }
  }
}

/** A key with consistent revisions, except for those given. */
export function scriptedKeyValue(
  key: string,
  fields: {
    readonly modRevision: bigint;
    readonly createRevision?: bigint;
    readonly value?: string;
  },
): ScriptedKeyValue {
  const { modRevision, createRevision = modRevision, value = "" } = fields;
  return {
    key: new TextEncoder().encode(key),
    value: new TextEncoder().encode(value),
    createRevision,
    modRevision,
    version: 1n,
  };
}
