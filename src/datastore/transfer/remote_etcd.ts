/** A datastore or an etcd cluster, for export, import and migrate. */

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { Attempt, Calls } from "../../etcd/client/calls.ts";
import { openCluster } from "../../etcd/client/cluster.ts";
import { EtcdError } from "../../etcd/client/etcd_error.ts";
import type { RpcMethod } from "../../etcd/client/etcd_messages.ts";
import { renewLease } from "../../etcd/client/lease_renewal.ts";
import type { Clock } from "../../base/clock.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";

export interface RemoteEtcdOptions {
  readonly endpoints: readonly string[];
  /** Empty: none. */
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly username: string;
  readonly password: string;
  /** The beginning of the flags for this store, for messages: `--etcd-` or `--to-`. */
  readonly flagPrefix: string;
}

export class RemoteEtcd implements Disposable {
  readonly endpoints: string;
  readonly #calls: Calls;
  readonly #flagPrefix: string;
  readonly #signal: AbortSignal;

  /** Connects at the first call. Throws `ConfigError` for an invalid endpoint. */
  constructor(
    options: RemoteEtcdOptions,
    { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
  ) {
    const { endpoints, caFile, certFile, keyFile, username, password } = options;
    const tls = { caFile, certFile, keyFile };
    const { urls, calls } = openCluster({ endpoints, tls, username, password }, clock);
    this.endpoints = urls.join(",");
    this.#calls = calls;
    this.#flagPrefix = options.flagPrefix;
    this.#signal = signal;
  }

  [Symbol.dispose](): void {
    this.#calls[Symbol.dispose]();
  }

  /**
   * Calls a method, and retries while no member responds. Throws `DatastoreError` with the
   * reason after "cannot `operation`".
   */
  call<Input extends DescMessage, Output extends DescMessage>(
    operation: string,
    method: DescMethodUnary<Input, Output>,
    message: MessageInitShape<Input>,
  ): Promise<MessageShape<Output>> {
    const rpcMethod = rpcMethodOf(method);
    return this.#run(
      { operation, method: rpcMethod.name },
      ({ transport, ...options }) => transport.unary(rpcMethod, message, options),
    );
  }

  /**
   * Renews a lease and returns its time to live in seconds; 0n when there is no such lease.
   */
  renewLease(id: bigint): Promise<bigint> {
    return this.#run({ operation: "renew a lease" }, (attempt) => renewLease(attempt, id));
  }

  async #run<T>(
    call: { readonly operation: string; readonly method?: string },
    attempt: (context: Attempt) => Promise<T>,
  ): Promise<T> {
    try {
      return await this.#calls.run({ ...call, repeatable: true, signal: this.#signal }, attempt);
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      const text = error.message.replaceAll("--etcd-", this.#flagPrefix)
        .replace(" in etcd: ", ": ");
      throw new DatastoreError(text, { cause: error });
    }
  }
}

/** A method with its generated messages, for the client. */
function rpcMethodOf<Input extends DescMessage, Output extends DescMessage>(
  { parent, name, input, output }: DescMethodUnary<Input, Output>,
): RpcMethod<MessageInitShape<Input>, MessageShape<Output>> {
  return {
    name: `${parent.typeName}/${name}`,
    encode: (request) => toBinary(input, create(input, request)),
    decode: (bytes) => fromBinary(output, bytes),
  };
}
