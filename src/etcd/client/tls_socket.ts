/** A TLS connection to an etcd member, always verified. */

import { isIP } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import type { TlsMaterial } from "../../base/tls_files.ts";

export interface SocketAddress {
  /** Host name or address, an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Connects; offers `protocols` by ALPN (RFC 7301), the preferred one first. */
export function connectTls(
  { host, port }: SocketAddress,
  material: TlsMaterial,
  protocols: readonly string[],
): TLSSocket {
  // RFC 6066 forbids addresses in the server name; the certificate's IP entries are checked anyway.
  const servername = isIP(host) === 0 ? { servername: host } : {};
  return connect({
    host,
    port,
    ...material,
    ...servername,
    ALPNProtocols: [...protocols],
    // Explicitly: NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment changes the default.
    rejectUnauthorized: true,
  });
}
