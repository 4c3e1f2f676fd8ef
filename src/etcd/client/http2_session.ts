/** The HTTP/2 sessions to an etcd member, one at a time, with the addresses of its connection. */

import { type ClientHttp2Session, connect, constants } from "node:http2";
import type { TLSSocket } from "node:tls";
import { type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import type { TlsMaterial } from "../../base/tls_files.ts";
import type { EtcdEndpoint } from "./endpoint.ts";
import { Code, GrpcError } from "./grpc_error.ts";
import { type ConnectionTiming, MonitoredSession } from "./monitored_session.ts";
import { connectTls } from "./tls_socket.ts";

export const defaultConnectionTiming: ConnectionTiming = {
  // etcd sends GOAWAY if PINGs come closer than 5 s apart (`--grpc-keepalive-min-time`).
  pingIntervalMs: 6_000,
  pingTimeoutMs: 3_500,
};

export type SessionState =
  /** There is no connection, or none was needed yet. */
  | "closed"
  | "connecting"
  /** There are calls. */
  | "open"
  | "idle"
  /** A PING has to show whether it still works. */
  | "verifying";

export class SessionManager {
  readonly #endpoint: EtcdEndpoint;
  readonly #material: TlsMaterial | undefined;
  readonly #clock: Clock;
  #timing: ConnectionTiming;
  #opening: OpeningSession | undefined;
  #live: MonitoredSession | undefined;
  /** When it was opened, in milliseconds since 1970. */
  #liveSinceMs = 0;
  /** Sessions that the server is closing, until their last call has ended. */
  readonly #draining = new Set<MonitoredSession>();

  /** Connects when a session is needed: with TLS if there is `material`. */
  constructor(
    endpoint: EtcdEndpoint,
    { material, timing, clock }: {
      readonly material: TlsMaterial | undefined;
      readonly timing: ConnectionTiming;
      readonly clock: Clock;
    },
  ) {
    this.#endpoint = endpoint;
    this.#material = material;
    this.#timing = timing;
    this.#clock = clock;
  }

  get state(): SessionState {
    if (this.#opening !== undefined) return "connecting";
    if (this.#live === undefined || this.#live.session.destroyed) return "closed";
    if (this.#live.hasCalls) return "open";
    return this.#live.isPinging ? "verifying" : "idle";
  }

  /** Whether there is a connection, in use or idle. */
  get isConnected(): boolean {
    return this.state !== "closed" && this.state !== "connecting";
  }

  /** When the connection was opened, in milliseconds since 1970; `undefined` if there is none. */
  get connectedSinceMs(): number | undefined {
    return this.isConnected ? this.#liveSinceMs : undefined;
  }

  /** The addresses of the connection, while it is open. */
  get ends(): ConnectionEnds | undefined {
    return this.isConnected && this.#live !== undefined
      ? endsOf(this.#live.session.socket)
      : undefined;
  }

  /** A session for a new call, unless one has to be opened or verified first. */
  get readySession(): MonitoredSession | undefined {
    const live = this.#live;
    return live?.isUsable && !live.isDoubtful ? live : undefined;
  }

  /** A session for a new call. Throws the error with which none could be opened. */
  async ready(): Promise<MonitoredSession> {
    const ready = this.readySession;
    if (ready !== undefined) return ready;
    const live = this.#live;
    if (live?.isUsable && await live.ping() && live.isUsable) return live;
    if (live !== undefined && live === this.#live) {
      if (!live.session.destroyed) this.#draining.add(live);
      this.#live = undefined;
    }
    if (this.#live !== undefined) return this.#live;
    return await (this.#opening ?? this.#open()).live;
  }

  /** Closes all connections; their calls fail with this error. */
  abort(reason: Error = new GrpcError("connection aborted", Code.Canceled)): void {
    this.#opening?.abort(reason);
    for (const live of [this.#live, ...this.#draining]) live?.destroy(reason);
    this.#live = undefined;
    this.#draining.clear();
  }

  #open(): OpeningSession {
    const opened = Promise.withResolvers<MonitoredSession>();
    // The calls that wait for it get the error.
    opened.promise.catch(() => {});
    const end = () => {
      if (this.#opening === opening) this.#opening = undefined;
    };
    let session: ClientHttp2Session | undefined;
    const fail = (reason: unknown) => {
      end();
      opened.reject(reason);
    };
    const opening: OpeningSession = {
      live: opened.promise,
      abort: (reason) => {
        fail(reason);
        if (!session?.destroyed) session?.destroy(undefined, constants.NGHTTP2_CANCEL);
      },
    };
    this.#opening = opening;
    try {
      session = this.#connect();
    } catch (error) {
      fail(new Error(`the connection cannot be set up: ${errorMessage(error)}`, { cause: error }));
      return opening;
    }
    const newSession = session;
    // Stays for later errors, which the calls report: without a listener they end the program.
    newSession.on("error", fail);
    newSession.once("close", () => fail(new GrpcError("http/2 stream closed", Code.Unavailable)));
    newSession.once("connect", () => {
      // An aborted session may still report that it is connected.
      if (this.#opening !== opening || newSession.destroyed) return;
      end();
      const live = new MonitoredSession(newSession, {
        timing: this.#timing,
        clock: this.#clock,
        onClosed: (pingIntervalMs) => {
          this.#timing = { ...this.#timing, pingIntervalMs };
          this.#draining.delete(live);
          if (this.#live === live) this.#live = undefined;
        },
      });
      this.#live = live;
      this.#liveSinceMs = this.#clock.wallMs();
      opened.resolve(live);
    });
    return opening;
  }

  #connect(): ClientHttp2Session {
    const [endpoint, material] = [this.#endpoint, this.#material];
    if (material === undefined) return connect(endpoint.url);
    return connect(endpoint.url, {
      createConnection: () => connectForHttp2(endpoint, material),
    });
  }
}

interface OpeningSession {
  readonly live: Promise<MonitoredSession>;
  /** Gives up; calls that wait for it get this error. */
  abort(reason: Error): void;
}

/**
 * With a server that does not support HTTP/2, the session fails but continues to read, and invalid
 * frames would cause an uncaught exception. So the socket is destroyed.
 */
function connectForHttp2(endpoint: EtcdEndpoint, material: TlsMaterial): TLSSocket {
  const socket = connectTls(endpoint, material, ["h2"]);
  socket.once("secureConnect", () => {
    if (socket.alpnProtocol !== "h2") socket.destroy();
  });
  return socket;
}

/** The addresses of both ends of a connection. */
export interface ConnectionEnds {
  readonly local: IpAddress;
  readonly remote: IpAddress;
}

/** `undefined` if the socket is closed. */
export function endsOf(
  { localAddress = "", remoteAddress = "" }: {
    readonly localAddress?: string | undefined;
    readonly remoteAddress?: string | undefined;
  },
): ConnectionEnds | undefined {
  const [local, remote] = [localAddress, remoteAddress].map(withoutZone).map(parseIpAddress);
  return local && remote && { local, remote };
}

/** `fe80::1%eth0` without the device. */
function withoutZone(address: string): string {
  return address.replace(/%.*/, "");
}
