/** Calls to the member that responds: fail-over, deadlines, retries, and the auth token. */

import { type IpAddress, nonUnicastKind, parseIpAddress, urlHost } from "../../addr/ip.ts";
import { Authentication, type Credentials } from "./authentication.ts";
import { backoffMs, type Clock, sleep } from "../../base/clock.ts";
import type { EtcdConnectionState } from "./etcd.ts";
import type { EtcdConnection } from "./etcd_connection.ts";
import type { EtcdEndpoint } from "./endpoint.ts";
import { type CallDescription, EtcdError, isNotEtcd, isPermissionDenied } from "./etcd_error.ts";
import type { CallOptions } from "./grpc_call.ts";
import type { Transport } from "./grpc_transport.ts";

export interface CallTiming {
  /** How long a member may take to respond. */
  readonly attemptMs: number;
  /**
   * No attempt begins later than this after the first, except on members that were not tried yet.
   */
  readonly retryForMs: number;
}

export const defaultCallTiming: CallTiming = { attemptMs: 5_000, retryForMs: 3_000 };

export interface Call extends CallDescription {
  readonly signal: AbortSignal;
}

/** What an attempt needs. */
export interface Attempt extends CallOptions {
  readonly connection: EtcdConnection;
  readonly transport: Transport;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

export class Calls implements Disposable {
  readonly #connections: readonly EtcdConnection[];
  readonly #clock: Clock;
  readonly #timing: CallTiming;
  readonly #authentication: Authentication | undefined;
  /** Aborted and replaced when the network changes. */
  #changed = new AbortController();
  /** Index of the member that responded last; random at first, to spread the nodes. */
  #preferred: number;

  constructor(options: {
    readonly connections: readonly EtcdConnection[];
    readonly credentials: Credentials | undefined;
    readonly clock: Clock;
    readonly timing: CallTiming;
  }) {
    this.#connections = options.connections;
    this.#clock = options.clock;
    this.#timing = options.timing;
    this.#preferred = Math.floor(options.clock.random() * options.connections.length);
    this.#authentication = options.credentials && new Authentication(options.credentials);
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections) connection[Symbol.dispose]();
  }

  /**
   * Attempts the call on one member after the other until one responds, with a pause after each
   * round. Throws `EtcdError`, or the signal's reason. A call that is not repeatable is attempted
   * again only if the last attempt certainly did nothing.
   */
  async run<T>(call: Call, attempt: (context: Attempt) => Promise<T>): Promise<T> {
    const startMs = this.#clock.nowMs();
    for (let failures = 1;; failures++) {
      try {
        return await this.once(call.signal, attempt);
      } catch (error) {
        call.signal.throwIfAborted();
        if (!(error instanceof EtcdError)) throw error;
        const pauseMs = this.#pauseMs(failures);
        const isLate = this.#clock.nowMs() - startMs + pauseMs > this.#timing.retryForMs;
        // The other members are tried, however long the first ones took to fail.
        const isRoundOver = failures >= this.#connections.length;
        if (!mayRetry(error, call) || (isRoundOver && isLate)) throw error.during(call);
        await this.pause(pauseMs, call.signal);
        call.signal.throwIfAborted();
      }
    }
  }

  /**
   * One attempt on the preferred member; after a failure another one is preferred. A token that
   * is no longer accepted is replaced once. Throws `EtcdError`, or the signal's reason.
   */
  async once<T>(signal: AbortSignal, attempt: (context: Attempt) => Promise<T>): Promise<T> {
    const connection = this.#preferredConnection();
    const tryOnce = () => this.#attempt(connection, signal, attempt);
    try {
      return await tryOnce().catch((error) => {
        if (this.#authentication === undefined || !mayBeToken(error)) throw error;
        return tryOnce();
      });
    } catch (error) {
      signal.throwIfAborted();
      const failure = EtcdError.from(error, connection);
      if (failure.kind !== "refused") this.avoid(connection);
      throw await withAdvice(failure, connection, signal);
    }
  }

  /** The member that is used, if there is a connection to it. */
  get connection(): EtcdConnectionState | undefined {
    const { endpoint, connectedSinceMs: sinceMs } = this.#preferredConnection();
    return sinceMs === undefined ? undefined : { endpoint: endpoint.url, sinceMs };
  }

  /** See `EtcdClient.networkChanged`. */
  async networkChanged(addresses: ReadonlySet<IpAddress>): Promise<void> {
    const concerned = this.#connections.map((connection) => connection.networkChanged(addresses));
    if (!(await Promise.all(concerned)).includes(true)) return;
    this.#changed.abort();
    this.#changed = new AbortController();
  }

  /**
   * A pause between attempts, which ends early when the network changes. Returns whether it did.
   */
  async pause(ms: number, signal: AbortSignal): Promise<boolean> {
    const changed = this.#changed.signal;
    await sleep(this.#clock, ms, AbortSignal.any([signal, changed]));
    return changed.aborted;
  }

  /** This member failed: prefer the next one, unless another call already does. */
  avoid(connection: EtcdConnection): void {
    if (connection === this.#preferredConnection()) {
      this.#preferred = (this.#preferred + 1) % this.#connections.length;
    }
  }

  /** The members are tried without pauses; a pause follows each round. */
  #pauseMs(failures: number): number {
    const round = failures / this.#connections.length;
    if (!Number.isInteger(round)) return 0;
    return backoffMs(round, { firstMs: 100, maxMs: 1_000 }, this.#clock);
  }

  #preferredConnection(): EtcdConnection {
    const connection = this.#connections[this.#preferred];
    if (connection === undefined) throw new RangeError("there is no etcd endpoint");
    return connection;
  }

  async #attempt<T>(
    connection: EtcdConnection,
    signal: AbortSignal,
    attempt: (context: Attempt) => Promise<T>,
  ): Promise<T> {
    const { attemptMs: timeoutMs } = this.#timing;
    const transport = await connection.open(signal, timeoutMs);
    const token = await this.#token(connection, transport);
    signal.throwIfAborted();
    // With "hasleader", a member without a leader refuses the call at once instead of holding it.
    const header = { hasleader: "true", ...(token !== undefined && { token }) };
    try {
      const result = await attempt({ connection, transport, header, signal, timeoutMs });
      connection.hasResponded = true;
      return result;
    } catch (error) {
      signal.throwIfAborted();
      const failure = EtcdError.from(error, connection);
      if (mayBeToken(failure)) this.#authentication?.forget(token);
      throw failure;
    }
  }

  async #token(connection: EtcdConnection, transport: Transport): Promise<string | undefined> {
    try {
      return await this.#authentication?.token(transport, this.#timing.attemptMs);
    } catch (error) {
      const failure = EtcdError.from(error, connection);
      // Whether or not the request for a token was processed, the call itself was not sent.
      throw failure.kind === "interrupted" ? failure.as("unsent") : failure;
    }
  }
}

/** The same failure with advice, where a probe of the endpoint or the symptom suggests one. */
async function withAdvice(
  failure: EtcdError,
  connection: EtcdConnection,
  signal: AbortSignal,
): Promise<EtcdError> {
  const { hasResponded, endpoint } = connection;
  if (hasResponded) return failure;
  if (isNotEtcd(failure)) {
    const finding = await connection.probe(signal);
    if (finding !== undefined) return failure.because(`${finding}${portHint(endpoint)}`);
  }
  return failure.because(
    `${failure.reason}${probableCause(failure, endpoint)}${portHint(endpoint)}`,
  );
}

/** The probable cause if a server has never responded. */
function probableCause({ symptom }: EtcdError, endpoint: EtcdEndpoint): string {
  const { secure, host, port } = endpoint;
  switch (symptom) {
    case "refused":
      return endpoint.hasPort ? whyRefused(endpoint) : "";
    case "no connection":
      return parseIpAddress(host) === undefined
        ? `: does the name resolve (getent hosts ${host}), and does a firewall drop packets to ` +
          `port ${port}?`
        : "";
    case "no gRPC":
      return ": a web server or proxy answers there, not etcd";
    // Which of the two it is depends on the state of the connection.
    case "closed":
    case "reset":
      return secure
        ? ": does the server accept our TLS certificate? check --etcd-certfile and --etcd-keyfile"
        : ": if etcd serves TLS, write the endpoint with https://";
    default:
      return "";
  }
}

/** An unreachable address looks like this too. */
function whyRefused({ host }: EtcdEndpoint): string {
  const address = parseIpAddress(host);
  if (host === "localhost" || address !== undefined && nonUnicastKind(address) === "loopback") {
    return ": does etcd run on this host? If it runs elsewhere, name it with --etcd-endpoints";
  }
  const check = address === undefined ? "" : ` (ip route get ${address})`;
  return ": does etcd run there, and does it listen on this address and not only on 127.0.0.1? " +
    `Or is that host down, or is there no route to it${check}?`;
}

function portHint({ hasPort, secure, host, port }: EtcdEndpoint): string {
  if (hasPort) return "";
  return `; the endpoint has no port, so port ${port} was tried: etcd listens on 2379, write ` +
    `${secure ? "https" : "http"}://${urlHost(host)}:2379`;
}

/** etcd before 3.4.22 and 3.5.5 refuses a watch with an expired token as "permission denied". */
function mayBeToken(error: unknown): boolean {
  return error instanceof EtcdError && error.kind === "token" || isPermissionDenied(error);
}

function mayRetry(error: EtcdError, call: Call): boolean {
  switch (error.kind) {
    case "unsent":
    case "busy":
      return true;
    case "interrupted":
      return call.repeatable;
    case "token":
    case "refused":
      return false;
  }
}
