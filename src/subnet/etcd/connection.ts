/** The connection to one etcd member: an HTTP/2 session, opened when needed, watched by PINGs. */

import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { isIP } from "node:net";
import type { Endpoint } from "./endpoint.ts";
import { EtcdError } from "./etcd_error.ts";
import type { TlsFiles, TlsMaterial } from "./tls_files.ts";

/** etcd answers PINGs that come closer than 5 s apart with GOAWAY (`--grpc-keepalive-min-time`). */
const PING_INTERVAL_MS = 6_000;
const PING_TIMEOUT_MS = 3_500;
const IDLE_CLOSE_MS = 300_000;
/** A snapshot of some 500 000 leases; a corrupted length must not make us allocate 4 GiB. */
const READ_MAX_BYTES = 128 << 20;

export interface ConnectionTiming {
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
}

export const defaultConnectionTiming: ConnectionTiming = {
  pingIntervalMs: PING_INTERVAL_MS,
  pingTimeoutMs: PING_TIMEOUT_MS,
};

export class Connection implements Disposable {
  readonly endpoint: Endpoint;
  /** A call has been answered at least once: there is an etcd behind the endpoint. */
  hasAnswered = false;
  readonly #tlsFiles: TlsFiles;
  readonly #timing: ConnectionTiming;
  #material: TlsMaterial | undefined;
  #session: Session | undefined;
  /** Sessions with older certificates: their streams may go on, new calls do not use them. */
  readonly #retired = new Set<Http2SessionManager>();

  constructor(
    endpoint: Endpoint,
    options: { readonly tlsFiles: TlsFiles; readonly timing: ConnectionTiming },
  ) {
    this.endpoint = endpoint;
    this.#tlsFiles = options.tlsFiles;
    this.#timing = options.timing;
  }

  /**
   * A transport with an open session. Throws `EtcdError` of the kind "unsent" when it cannot be opened
   * in time, and the signal's reason when the signal aborts.
   */
  async open(signal: AbortSignal, timeoutMs: number): Promise<Transport> {
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      const { manager, transport } = this.#currentSession();
      const state = await abortable(manager.connect(), AbortSignal.any([signal, deadline]));
      // It has none when TLS does not take what the files hold.
      if (state === "error") throw manager.error() ?? new Error("the connection cannot be set up");
      return transport;
    } catch (error) {
      signal.throwIfAborted();
      if (deadline.aborted) throw this.#giveUp(error);
      throw EtcdError.from(error, { kind: "unsent", endpoint: this.endpoint });
    }
  }

  /** Closes the sessions with all their streams. */
  [Symbol.dispose](): void {
    this.#session?.manager.abort();
    for (const manager of this.#retired) manager.abort();
    this.#retired.clear();
  }

  /** Left alone, a connection attempt that nobody answers would go on for minutes. */
  #giveUp(cause: unknown): EtcdError {
    const reason = "no connection in time";
    const failure = new EtcdError(`${reason} (${this.endpoint.url})`, {
      kind: "unsent",
      reason,
      cause,
    });
    const manager = this.#session?.manager;
    if (manager?.state() === "connecting") manager.abort(failure);
    return failure;
  }

  #currentSession(): Session {
    const material = this.endpoint.secure ? this.#tlsFiles.current() : undefined;
    if (this.#session !== undefined && material === this.#material) return this.#session;
    this.#retireSession();
    this.#material = material;
    this.#session = newSession(this.endpoint, material, this.#timing);
    return this.#session;
  }

  #retireSession(): void {
    for (const manager of this.#retired) {
      if (manager.state() !== "open") this.#retired.delete(manager);
    }
    if (this.#session !== undefined) this.#retired.add(this.#session.manager);
  }
}

interface Session {
  readonly manager: Http2SessionManager;
  readonly transport: Transport;
}

function newSession(
  endpoint: Endpoint,
  material: TlsMaterial | undefined,
  timing: ConnectionTiming,
): Session {
  // RFC 6066 forbids addresses in the server name; the certificate's IP entries are checked anyway.
  const servername = isIP(endpoint.host) === 0 ? { servername: endpoint.host } : {};
  const manager = new Http2SessionManager(
    endpoint.url,
    { ...timing, idleConnectionTimeoutMs: IDLE_CLOSE_MS },
    // Explicitly: NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment changes the default.
    material === undefined ? {} : { ...material, ...servername, rejectUnauthorized: true },
  );
  const transport = createGrpcTransport({
    baseUrl: endpoint.url,
    sessionManager: manager,
    acceptCompression: [],
    readMaxBytes: READ_MAX_BYTES,
  });
  return { manager, transport };
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
