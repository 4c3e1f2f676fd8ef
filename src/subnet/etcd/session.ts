/** One HTTP/2 session to an etcd member, whose ends are known. */

import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { ClientHttp2Session } from "node:http2";
import { isIP } from "node:net";
import { type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import type { ConnectionTiming } from "./connection.ts";
import type { Endpoint } from "./endpoint.ts";
import type { TlsMaterial } from "./tls_files.ts";

const IDLE_CLOSE_MS = 300_000;
/** A snapshot of some 500 000 leases; a corrupted length must not make us allocate 4 GiB. */
const READ_MAX_BYTES = 128 << 20;

export interface Session {
  readonly manager: SessionManager;
  readonly transport: Transport;
}

export function newSession(
  endpoint: Endpoint,
  material: TlsMaterial | undefined,
  timing: ConnectionTiming,
): Session {
  // RFC 6066 forbids addresses in the server name; the certificate's IP entries are checked anyway.
  const servername = isIP(endpoint.host) === 0 ? { servername: endpoint.host } : {};
  const manager = new SessionManager(
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

export class SessionManager extends Http2SessionManager {
  #session: ClientHttp2Session | undefined;

  override async request(
    ...request: Parameters<Http2SessionManager["request"]>
  ): ReturnType<Http2SessionManager["request"]> {
    const stream = await super.request(...request);
    this.#session = stream.session as ClientHttp2Session | undefined;
    return stream;
  }

  /** Whether a connection stands, in use or not. */
  get isConnected(): boolean {
    const state = this.state();
    return state === "open" || state === "idle" || state === "verifying";
  }

  /** The addresses of the connection that was used last, if it still stands. */
  get ends(): { readonly local: IpAddress; readonly remote: IpAddress } | undefined {
    if (!this.isConnected || this.#session === undefined || this.#session.destroyed) {
      return undefined;
    }
    const { localAddress = "", remoteAddress = "" } = this.#session.socket;
    const [local, remote] = [localAddress, remoteAddress].map(withoutZone).map(parseIpAddress);
    return local === undefined || remote === undefined ? undefined : { local, remote };
  }
}

/** `fe80::1%eth0` without the device. */
function withoutZone(address: string): string {
  return address.replace(/%.*$/, "");
}
