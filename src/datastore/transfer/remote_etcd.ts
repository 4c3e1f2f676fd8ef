/** A datastore or an etcd cluster, for export, import and migrate. */

import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { type Attempt, type Calls, methodName } from "../../etcd/client/calls.ts";
import { openCluster } from "../../etcd/client/cluster.ts";
import { EtcdError } from "../../etcd/client/etcd_error.ts";
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
    const call = { operation, method: methodName(method) };
    return this.#run(call, async ({ transport, header, signal, timeoutMs }) => {
      const response = await transport.unary(method, signal, timeoutMs, header, message);
      return response.message;
    });
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
