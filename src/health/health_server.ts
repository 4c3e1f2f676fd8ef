/** `/healthz` and `/readyz` over HTTP, for kubelet and other supervisors. */

import { OperatorError } from "../base/operator_error.ts";
import { familyOf, type IpAddress } from "../addr/ip.ts";
import { printableLine } from "../base/quoting.ts";

export interface HealthServerOptions {
  readonly ip: IpAddress;
  /** 0 lets the kernel choose. */
  readonly port: number;
  /** Why this node is not ready, one line each; empty when it is. */
  readonly problems: () => readonly string[];
}

export interface HealthServer extends Disposable {
  readonly port: number;
}

/** The server cannot listen on the address. */
export class HealthServerError extends OperatorError {
  override readonly name = "HealthServerError";
}

/**
 * Serves until disposed. `/healthz` returns 200 as long as the process responds; `/readyz` returns
 * 200, or 503 with the problems in its text. As in Go, `0.0.0.0` serves IPv6 too: in a cluster with
 * IPv6 only, kubelet sends its probes to an IPv6 address. Throws `HealthServerError`.
 */
export function startHealthServer(options: HealthServerOptions): HealthServer {
  const { ip, port, problems } = options;
  try {
    const server = ip === ANY_IPV4
      ? listenOnAllAddresses({ port, problems })
      : listen({ hostname: ip, port, problems });
    return { port: server.port as number, [Symbol.dispose]: () => void server.stop(true) };
  } catch (cause) {
    const where = familyOf(ip) === 6 ? `[${ip}]:${port}` : `${ip}:${port}`;
    const { code, message } = cause as { code?: string; message: string };
    const reason = code === "EADDRINUSE"
      ? "another program listens there; set another --healthz-port"
      : code === "EADDRNOTAVAIL"
      ? "this host does not have the address; set another --healthz-ip"
      : message;
    throw new HealthServerError(`cannot serve /healthz on ${where}: ${reason}`, { cause });
  }
}

const ANY_IPV4 = "0.0.0.0";

interface ListenOptions extends Pick<HealthServerOptions, "port" | "problems"> {
  readonly hostname: string;
}

/** On a dual-stack socket, or by IPv4 alone on a kernel that was started without IPv6. */
function listenOnAllAddresses(options: Omit<ListenOptions, "hostname">) {
  try {
    return listen({ ...options, hostname: "::" });
  } catch (error) {
    if ((error as { code?: string }).code !== "EAFNOSUPPORT") throw error;
    return listen({ ...options, hostname: ANY_IPV4 });
  }
}

function listen({ hostname, port, problems }: ListenOptions) {
  return Bun.serve({
    hostname,
    port,
    development: false,
    reusePort: false,
    // As in Go: on `::` it also serves IPv4.
    ipv6Only: false,
    idleTimeout: IDLE_SECONDS,
    // Routed by path: building the request's URL would fail without a valid Host header.
    routes: {
      "/healthz": () => text(200, "flanneld is running"),
      "/readyz": () => readyz(problems()),
    },
    fetch: () => text(404, "not found; try /healthz or /readyz"),
    error: () => text(500, "internal error"),
  });
}

/** Connections without traffic are closed after this time. */
const IDLE_SECONDS = 10;

function readyz(problems: readonly string[]): Response {
  if (problems.length === 0) return text(200, "flanneld is ready");
  const lines = problems.map((problem) => `- ${printableLine(problem)}`);
  return text(503, ["flanneld is not ready:", ...lines].join("\n"));
}

function text(status: number, body: string): Response {
  return new Response(`${body}\n`, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" },
  });
}
