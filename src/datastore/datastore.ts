/** The datastore: its parts, and the order in which they start and stop. */

import { urlHost } from "../addr/ip.ts";
import type { Log } from "../log/log.ts";
import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import { MemoryPool, type PoolSizes } from "./mvcc/memory_pool.ts";
import { CommitQueue } from "./mvcc/commit_queue.ts";
import { Compactor } from "./mvcc/compactor.ts";
import type { DatastoreError } from "./mvcc/datastore_error.ts";
import { LeaseClock } from "./mvcc/lease_clock.ts";
import { Lessor } from "./mvcc/lessor.ts";
import { joinTargetText } from "../join/join_token.ts";
import { openCa } from "./access/datastore_ca.ts";
import {
  TokenAccess,
  type TokenAccessContext,
  type TokenAccessOptions,
} from "./access/token_access.ts";
import { authCalls, callGuard } from "./rpc/auth_calls.ts";
import { keyCalls } from "./rpc/key_calls.ts";
import { responseHeader } from "./rpc/response_header.ts";
import { GrpcServer, type GrpcServerTls } from "./rpc/grpc_server.ts";
import type { ServerLimits } from "./rpc/server_limits.ts";
import { KEEP_ALIVE_PATH, registerServices } from "./rpc/services.ts";
import { serveWatches, WATCH_PATH } from "./rpc/watch_service.ts";
import { Storage } from "./mvcc/storage.ts";
import { StorageReport } from "./mvcc/storage_report.ts";
import { RequestError } from "./mvcc/request_error.ts";
import { MvccStore } from "./mvcc/mvcc_store.ts";
import { WatchHub } from "./mvcc/watch_hub.ts";

export interface DatastoreOptions {
  readonly directory: string;
  readonly host: string;
  /** 0 chooses a free port. */
  readonly port: number;
  readonly tls?: GrpcServerTls | undefined;
  /**
   * Decides by the data whether to require tokens and to serve TLS with a certificate of the
   * directory's own CA; `undefined`: not. May throw `DatastoreError`.
   */
  readonly tokens?: ((data: Storage) => TokenAccessOptions | undefined) | undefined;
  /** Interval of progress notifications to idle watches that request them. */
  readonly progressNotifyMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Set only by tests. */
  readonly limits?: Partial<ServerLimits>;
  /** Set only by tests. */
  readonly responsePool?: PoolSizes | undefined;
}

export class Datastore implements AsyncDisposable {
  /** For clients, such as `http://127.0.0.1:2379`. */
  readonly url: string;
  readonly store: MvccStore;
  /** Resolves after a failure of the disk that allows no further writes. */
  readonly failed: Promise<DatastoreError>;
  readonly #port: number;
  readonly #access: TokenAccess | undefined;
  readonly #parts: AsyncDisposableStack;

  /** Opens the data and serves it. Throws `DatastoreError`. */
  static async start(options: DatastoreOptions): Promise<Datastore> {
    await using parts = new AsyncDisposableStack();
    const { clock, log, host, port, tls, progressNotifyMs } = options;
    const storage = parts.use(new Storage(options.directory));
    storage.events = parts.use(new StorageReport({ file: storage.file, clock, log }));
    const tokens = options.tokens?.(storage);
    const access = tokens && parts.use(await openAccess(storage, { ...options, ...tokens }));
    const leaseClock = new LeaseClock(clock, storage.readState().clockMs);
    const store = new MvccStore(storage, () => leaseClock.nowMs());
    const lessor = parts.use(new Lessor({ store, storage, leaseClock, clock, log }));
    const saveClock = () => {
      try {
        if (lessor.ids.length > 0) store.writeLeases(() => {});
      } catch (error) {
        const reason = errorMessage(error);
        log.warn(`cannot save the clock of the leases: ${reason}; after a crash they expire later`);
      }
    };
    parts.defer(saveClock);
    parts.use(new Compactor({ store, clock, log, saveClock }));
    const commits = parts.use(new CommitQueue(store));
    const services = { store, storage, lessor, name: "flanneld" };
    const pool = new MemoryPool(options.responsePool);
    const hub = new WatchHub({ store, clock, progressNotifyMs });
    const certificate = tls ?? access?.identity.current;
    const urlOf = (port: number) =>
      `${certificate === undefined ? "http" : "https"}://${urlHost(host)}:${port}`;
    const header = () => responseHeader(storage.identity, store.revision);
    const server = parts.use(
      await GrpcServer.start({
        host,
        port,
        tls: certificate,
        clock,
        log,
        limits: options.limits,
        guard: access && callGuard(access.control),
        routes: (router) => registerServices(router, { ...services, url: urlOf(port) }),
        streams: new Map([
          [
            WATCH_PATH,
            (messages, writer) => serveWatches({ hub, storage, pool }, messages, writer),
          ],
          ...keyCalls({ store, storage, commits, lessor, pool }),
          ...authCalls({
            access: access?.control,
            header,
            pools: { responses: pool, requests: new MemoryPool(AUTH_REQUESTS) },
          }),
        ]),
        longWait: new Set([WATCH_PATH, KEEP_ALIVE_PATH]),
      }),
    );
    if (access !== undefined) {
      access.identity.onRenewed = (renewed) => server.replaceCertificate(renewed);
      access.control.onRemoved = (caller) => server.disconnect(caller);
      parts.use(access.serveControl(server.port));
    }
    parts.use(hub); // disposed first: its streams keep connections open
    const { port: actualPort } = server;
    const started = { url: urlOf(actualPort), port: actualPort, store, access };
    return new Datastore({ ...started, failed: storage.failed }, parts.move());
  }

  private constructor(started: Started, parts: AsyncDisposableStack) {
    this.url = started.url;
    this.store = started.store;
    this.failed = started.failed;
    this.#port = started.port;
    this.#access = started.access;
    this.#parts = parts;
  }

  get requiresTokens(): boolean {
    return this.#access !== undefined;
  }

  /** `TOKEN@HOST[:PORT]` for nodes that join; `undefined` if there is no lasting token. */
  get joinTarget(): string | undefined {
    const token = this.#access?.control.lastingToken;
    const host = this.#access?.hosts[0];
    if (token === undefined || host === undefined) return undefined;
    return joinTargetText({ token, host, port: this.#port });
  }

  /** Returns the value of the key if it exists; otherwise writes it and returns `undefined`. */
  putIfAbsent(key: string, value: string): string | undefined {
    const bytes = new TextEncoder().encode(key);
    return this.store.write((transaction) => {
      const present = transaction.get(bytes);
      if (present !== undefined) return new TextDecoder().decode(present.value);
      const entry = { key: bytes, value: new TextEncoder().encode(value), lease: 0n };
      transaction.put(entry, undefined);
      return undefined;
    });
  }

  /** Ends the watches, closes the connections and releases the data. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.disposeAsync();
  }
}

/** Creates the files before the record in the data: with the record, data needs them. */
async function openAccess(
  storage: Storage,
  options: Omit<TokenAccessContext, "ca">,
): Promise<TokenAccess> {
  const ca = await openCa(options.directory, options.prepared?.caKey);
  using onFailure = new DisposableStack();
  const access = onFailure.use(await TokenAccess.open({ ...options, ca }));
  try {
    storage.requireTokens();
  } catch (error) {
    // The storage's report says so. Reads are served, and the next start writes the record.
    if (!(error instanceof RequestError && error.reason === "noSpace")) throw error;
  }
  onFailure.move();
  return access;
}

interface Started extends Pick<Datastore, "url" | "store" | "failed"> {
  readonly port: number;
  readonly access: TokenAccess | undefined;
}

/** For requests that wait; a name and a password are short. */
const AUTH_REQUESTS = { smallBytes: 4 << 20, largeBytes: 4 << 20 };
