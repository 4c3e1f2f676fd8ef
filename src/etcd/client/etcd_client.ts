/**
 * etcd's v3 API over gRPC: the `Etcd` port for a cluster of one or more members.
 *
 * A call goes to one member, and to the next if that does not respond. Reads are repeated freely.
 * A transaction, or the grant of a lease with a chosen ID, is sent again only if the failed
 * attempt certainly did nothing; otherwise `EtcdError.mayHaveBeenApplied` is true, and the caller
 * has to read before it writes again. All errors are `EtcdError`s.
 */

import type { Call, Calls } from "./calls.ts";
import { type ClusterOptions, openCluster } from "./cluster.ts";
import type { Clock } from "../../base/clock.ts";
import type {
  Etcd,
  EtcdConnectionState,
  EtcdWatch,
  KeyRange,
  LeaseGrant,
  RangeResult,
  Transaction,
  TransactionResult,
} from "./etcd.ts";
import type { Log } from "../../log/log.ts";
import {
  checkGrant,
  checkLeaseId,
  checkRange,
  checkTimes,
  checkTransaction,
  hex,
} from "./response_checks.ts";
import { EtcdError, isLeaseNotFound } from "./etcd_error.ts";
import type { HostNetwork } from "./host_network.ts";
import { LeaseRenewals } from "./lease_renewals.ts";
import {
  rangeMessage,
  rangeResult,
  transactionMessage,
  transactionResult,
} from "./request_messages.ts";
import { etcdMethods, type RpcMethod } from "./etcd_messages.ts";
import { watchPrefix } from "./watch.ts";

export interface EtcdClientOptions extends ClusterOptions {
  readonly log: Log;
  readonly clock: Clock;
}

export class EtcdClient implements Etcd {
  readonly description: string;
  readonly #calls: Calls;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #host: HostNetwork | undefined;
  readonly #closed = new AbortController();
  readonly #signals = new WeakMap<AbortSignal, AbortSignal>();
  readonly #renewals: LeaseRenewals;

  /** Connects at the first call. Throws `ConfigError` for options that cannot work. */
  constructor(options: EtcdClientOptions) {
    const { host, log, clock } = options;
    const { urls, calls } = openCluster(options, clock);
    this.description = urls.join(", ");
    this.#calls = calls;
    this.#clock = clock;
    this.#log = log;
    this.#host = host;
    this.#renewals = new LeaseRenewals(clock);
  }

  get connection(): EtcdConnectionState | undefined {
    return this.#calls.connection;
  }

  /** Ends all watches and calls, and closes the connections. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new EtcdError("the etcd client is closed", CLOSED));
    this.#calls[Symbol.dispose]();
    return Promise.resolve();
  }

  /**
   * This host's addresses or routes may have changed. A connection whose local address or route
   * no longer exists is closed without waiting for its PING, and calls that pause after a failure
   * try again. May be called often: an unrelated change costs a few kernel queries and no packet.
   * Throws what `HostNetwork` throws.
   */
  async networkChanged(): Promise<void> {
    if (this.#host === undefined) return;
    await this.#calls.networkChanged(await this.#host.addresses());
  }

  async range(request: KeyRange, signal: AbortSignal): Promise<RangeResult> {
    const { keyValues, revision } = await this.#range(request, signal);
    return { keyValues, revision };
  }

  transaction(transaction: Transaction, signal: AbortSignal): Promise<TransactionResult> {
    const keys = changedKeys(transaction);
    return this.#unary({
      operation: keys.length === 0 ? `read ${readKeys(transaction)}` : `change ${keys.join(", ")}`,
      key: keys[0],
      repeatable: keys.length === 0,
      signal,
      method: etcdMethods.transaction,
      message: transactionMessage(transaction),
      read: (response) => {
        checkTransaction(response, transaction);
        return transactionResult(response);
      },
    });
  }

  grantLease(
    { id = 0n, ttlSeconds }: { id?: bigint; ttlSeconds: number },
    signal: AbortSignal,
  ): Promise<LeaseGrant> {
    return this.#unary({
      operation: "grant a lease",
      // Granting twice leaves a lease without keys, which expires by itself; an ID can be taken
      // once.
      repeatable: id === 0n,
      signal,
      method: etcdMethods.leaseGrant,
      message: { ID: id, TTL: BigInt(ttlSeconds) },
      read: (response) => {
        checkGrant(response, id);
        return { id: response.ID, ttlSeconds: Number(response.TTL) };
      },
    });
  }

  keepLeaseAlive(id: bigint, signal: AbortSignal): Promise<number> {
    const call = {
      operation: `renew the lease ${hex(id)}`,
      method: etcdMethods.leaseKeepAlive.name,
      repeatable: true,
      signal: this.#signal(signal),
    };
    return this.#calls.run(
      call,
      async (attempt) => Number(await this.#renewals.renew(attempt, id)),
    );
  }

  async revokeLease(id: bigint, signal: AbortSignal): Promise<void> {
    try {
      await this.#unary({
        operation: `revoke the lease ${hex(id)}`,
        repeatable: true,
        signal,
        method: etcdMethods.leaseRevoke,
        message: { ID: id },
        read: () => {},
      });
    } catch (error) {
      if (!isLeaseNotFound(error)) throw error;
    }
  }

  leaseTimeToLive(
    id: bigint,
    signal: AbortSignal,
  ): Promise<{ remainingSeconds: number; grantedSeconds: number }> {
    return this.#unary({
      operation: `read the lease ${hex(id)}`,
      repeatable: true,
      signal,
      method: etcdMethods.leaseTimeToLive,
      message: { ID: id },
      read: (response) => {
        checkLeaseId(response.ID, id);
        checkTimes(response);
        const { TTL, grantedTTL } = response;
        return { remainingSeconds: Number(TTL), grantedSeconds: Number(grantedTTL) };
      },
    });
  }

  watch(prefix: string, signal: AbortSignal): AsyncIterable<EtcdWatch> {
    const source = {
      calls: this.#calls,
      snapshot: (prefix: string, signal: AbortSignal) =>
        this.#range({ key: prefix, prefix: true }, signal),
      clock: this.#clock,
      log: this.#log,
    };
    return watchPrefix(source, prefix, this.#signal(signal));
  }

  #range(
    request: KeyRange,
    signal: AbortSignal,
  ): Promise<RangeResult & { readonly clusterId: bigint }> {
    return this.#unary({
      operation: `read ${request.key}${request.prefix ? "*" : ""}`,
      key: request.key,
      repeatable: true,
      signal,
      method: etcdMethods.range,
      message: rangeMessage(request),
      read: (response) => {
        checkRange(response, request);
        return { ...rangeResult(response), clusterId: response.header?.clusterId ?? 0n };
      },
    });
  }

  #unary<Request, Response, Result>(
    { method, message, read, ...call }: UnaryCall<Request, Response, Result>,
  ): Promise<Result> {
    const described = { ...call, method: method.name, signal: this.#signal(call.signal) };
    return this.#calls.run(
      described,
      async ({ transport, ...options }) => read(await transport.unary(method, message, options)),
    );
  }

  /** One for each signal, because a session renews its lease with the same signal each time. */
  #signal(signal: AbortSignal): AbortSignal {
    const known = this.#signals.get(signal);
    if (known !== undefined) return known;
    const either = AbortSignal.any([signal, this.#closed.signal]);
    this.#signals.set(signal, either);
    return either;
  }
}

interface UnaryCall<Request, Response, Result> extends Omit<Call, "method"> {
  readonly method: RpcMethod<Request, Response>;
  readonly message: Request;
  /** Checks and reads a response. What it throws is a failure of the member that sent it. */
  readonly read: (response: Response) => Result;
}

const CLOSED = { kind: "unsent", reason: "closed" } as const;

/** The keys that a transaction may change; none when it only reads. */
function changedKeys({ success, failure = [] }: Transaction): string[] {
  const keys = [...success, ...failure].flatMap((operation) =>
    "put" in operation ? [operation.put.key] : "delete" in operation ? [operation.delete.key] : []
  );
  return [...new Set(keys)];
}

/** The keys that a transaction reads, for messages. */
function readKeys({ success }: Transaction): string {
  const ranges = success.flatMap((operation) => "range" in operation ? [operation.range] : []);
  return ranges.map(({ key, prefix }) => `${key}${prefix ? "*" : ""}`).join(", ");
}
