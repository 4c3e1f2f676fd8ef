/** etcd's calls on the wire, for tests that compare responses. */

import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { KV, Lease, Maintenance, Watch } from "../../src/etcd/api/rpc_pb.ts";

export class RawClient implements Disposable {
  readonly kv: Client<typeof KV>;
  readonly lease: Client<typeof Lease>;
  readonly maintenance: Client<typeof Maintenance>;
  readonly watch: Client<typeof Watch>;
  readonly #sessions: Http2SessionManager;

  constructor(url: string) {
    this.#sessions = new Http2SessionManager(url);
    const transport = createGrpcTransport({ baseUrl: url, sessionManager: this.#sessions });
    this.kv = createClient(KV, transport);
    this.lease = createClient(Lease, transport);
    this.maintenance = createClient(Maintenance, transport);
    this.watch = createClient(Watch, transport);
  }

  [Symbol.dispose](): void {
    this.#sessions.abort();
  }
}

/** A stream of requests that are added one by one. */
export class Requests<T> implements AsyncIterable<T> {
  readonly #waiting: T[] = [];
  #wake = Promise.withResolvers<void>();
  #ended = false;

  send(request: T): void {
    this.#waiting.push(request);
    this.#wake.resolve();
  }

  end(): void {
    this.#ended = true;
    this.#wake.resolve();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) yield next;
      if (this.#ended) return;
      await this.#wake.promise;
      this.#wake = Promise.withResolvers<void>();
    }
  }
}
