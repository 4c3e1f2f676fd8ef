/** One HTTP/2 session to an etcd member, with the addresses of its connection. */

import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { ClientHttp2Session } from "node:http2";
import type { TLSSocket } from "node:tls";
import { type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import type { EtcdEndpoint } from "./endpoint.ts";
import type { TlsMaterial } from "../../base/tls_files.ts";
import { connectTls } from "./tls_socket.ts";

const IDLE_CLOSE_MS = 300_000;
/** A snapshot of some 500 000 leases. A corrupted length may not cause an allocation of 4 GiB. */
const READ_MAX_BYTES = 128 << 20;

export interface ConnectionTiming {
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
}

export const defaultConnectionTiming: ConnectionTiming = {
  // etcd sends GOAWAY if PINGs come closer than 5 s apart (`--grpc-keepalive-min-time`).
  pingIntervalMs: 6_000,
  pingTimeoutMs: 3_500,
};

export interface Http2Session {
  readonly manager: SessionManager;
  readonly transport: Transport;
}

export function newHttp2Session(
  endpoint: EtcdEndpoint,
  material: TlsMaterial | undefined,
  timing: ConnectionTiming,
): Http2Session {
  const manager = new SessionManager(
    endpoint.url,
    { ...timing, idleConnectionTimeoutMs: IDLE_CLOSE_MS },
    material === undefined ? {} : { createConnection: () => connectForHttp2(endpoint, material) },
  );
  const transport = createGrpcTransport({
    baseUrl: endpoint.url,
    sessionManager: manager,
    acceptCompression: [],
    readMaxBytes: READ_MAX_BYTES,
  });
  return { manager, transport };
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

export class SessionManager extends Http2SessionManager {
  #session: ClientHttp2Session | undefined;

  override async request(
    ...request: Parameters<Http2SessionManager["request"]>
  ): ReturnType<Http2SessionManager["request"]> {
    const stream = await super.request(...request);
    const session = stream.session as ClientHttp2Session | undefined;
    if (session !== this.#session) {
      this.#session = session;
      // The manager listens only until the first error; a second one would be uncaught.
      session?.on("error", () => {});
    }
    return stream;
  }

  /** Whether there is a connection, in use or idle. */
  get isConnected(): boolean {
    const state = this.state();
    return state === "open" || state === "idle" || state === "verifying";
  }

  /** The addresses of the most recently used connection, if it is still open. */
  get ends(): ConnectionEnds | undefined {
    if (!this.isConnected || this.#session === undefined || this.#session.destroyed) {
      return undefined;
    }
    return endsOf(this.#session.socket);
  }
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
