/** A datastore or an etcd cluster, as export, import and migration call it. */

import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { type Attempt, Calls, defaultCallTiming } from "../../etcd/client/calls.ts";
import { defaultConnectionTiming, EtcdConnection } from "../../etcd/client/etcd_connection.ts";
import { parseEndpoints } from "../../etcd/client/endpoint.ts";
import { EtcdError } from "../../etcd/client/etcd_error.ts";
import { renewLease } from "../../etcd/client/lease_renewal.ts";
import { TlsFiles } from "../../etcd/client/tls_files.ts";
import { systemClock } from "../../base/clock.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";

export interface RemoteEtcdOptions {
  readonly endpoints: readonly string[];
  /** Empty: none. */
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly username: string;
  readonly password: string;
  /** How the flags begin that describe this one, for messages: `--etcd-` or `--to-`. */
  readonly flagPrefix: string;
}

export class RemoteEtcd implements Disposable {
  readonly endpoints: string;
  readonly #calls: Calls;
  readonly #flagPrefix: string;
  readonly #signal: AbortSignal;

  /** Connects at the first call. Throws `ConfigError` for an endpoint that is none. */
  constructor(options: RemoteEtcdOptions, signal: AbortSignal) {
    const { caFile, certFile, keyFile, username, password } = options;
    const hasTls = [caFile, certFile, keyFile].some((file) => file !== "");
    const endpoints = parseEndpoints(options.endpoints, hasTls);
    const tlsFiles = new TlsFiles({ caFile, certFile, keyFile });
    this.endpoints = endpoints.map(({ url }) => url).join(",");
    this.#flagPrefix = options.flagPrefix;
    this.#signal = signal;
    this.#calls = new Calls({
      connections: endpoints.map((endpoint) =>
        new EtcdConnection(endpoint, { tlsFiles, timing: defaultConnectionTiming })
      ),
      credentials: username === "" ? undefined : { username, password },
      clock: systemClock,
      timing: defaultCallTiming,
    });
  }

  [Symbol.dispose](): void {
    this.#calls[Symbol.dispose]();
  }

  /**
   * Calls a method, over and over while nobody answers. Throws `DatastoreError` with the reason after
   * "cannot `operation`".
   */
  call<Input extends DescMessage, Output extends DescMessage>(
    operation: string,
    method: DescMethodUnary<Input, Output>,
    message: MessageInitShape<Input>,
  ): Promise<MessageShape<Output>> {
    return this.#run(operation, async ({ transport, header, signal, timeoutMs }) => {
      const answer = await transport.unary(method, signal, timeoutMs, header, message);
      return answer.message;
    });
  }

  /** Gives a lease its whole time again and returns it in seconds; 0n when there is no such lease. */
  renewLease(id: bigint): Promise<bigint> {
    return this.#run("renew a lease", (attempt) => renewLease(attempt, id));
  }

  async #run<T>(operation: string, attempt: (context: Attempt) => Promise<T>): Promise<T> {
    try {
      return await this.#calls.run({ operation, repeatable: true, signal: this.#signal }, attempt);
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      const text = error.message.replaceAll("--etcd-", this.#flagPrefix)
        .replace(" in etcd: ", ": ");
      throw new DatastoreError(text, { cause: error });
    }
  }
}
