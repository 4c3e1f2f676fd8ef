/**
 * Serves documents about this daemon on a UNIX socket, as HTTP and JSON: docs/api.md.
 *
 * Clients may not slow the daemon down: their number, what they send and how long they stay
 * connected are limited, one request is answered on each connection, and a response that the client
 * does not read is dropped.
 */

import { unixPeerOf } from "../../ffi/unix_peer.ts";
import type { Clock } from "../base/clock.ts";
import type { Log } from "../log/log.ts";
import { QueryError } from "./query_error.ts";
import { claimSocket } from "./socket_claim.ts";

export interface StatusServerOptions {
  readonly path: string;
  /** What is served, by path, such as `/v1/status`. */
  readonly documents: Readonly<Record<string, (query: URLSearchParams) => unknown>>;
  readonly clock: Clock;
  readonly log: Log;
  /** How long a connection may last, in total. */
  readonly connectionMs?: number;
}

const MAX_CONNECTIONS = 16;
const MAX_REQUEST_BYTES = 8 * 1024;
const CONNECTION_MS = 10_000;

/** Serves until disposed, and removes the socket then. Throws `SocketClaimError`. */
export function serveStatus(options: StatusServerOptions): Disposable {
  const { connectionMs = CONNECTION_MS, clock } = options;
  const connections = new Set<StatusConnection>();
  return claimSocket(options.path, (path) => {
    const listener = Bun.listen<StatusConnection>({
      unix: path,
      socket: {
        open(socket) {
          const connection = new StatusConnection(socket, options, { isAllowed: mayUse(socket) });
          socket.data = connection;
          if (connections.size >= MAX_CONNECTIONS) {
            return connection.refuse(503, `more than ${MAX_CONNECTIONS} connections`);
          }
          connections.add(connection);
          connection.closeAfter(connectionMs, clock);
        },
        data: ({ data: connection }, bytes) => connection.receive(bytes),
        drain: ({ data: connection }) => connection.flush(),
        // A client that has sent its request may end its side.
        end: () => undefined,
        close({ data: connection }) {
          connections.delete(connection);
          connection[Symbol.dispose]();
        },
        error: (socket) => void socket.terminate(),
      },
      allowHalfOpen: true,
    });
    listener.unref();
    return { [Symbol.dispose]: () => void listener.stop(true) };
  });
}

/** In addition to the mode of the socket: a connected descriptor may have been passed on. */
function mayUse(socket: Bun.Socket<StatusConnection>): boolean {
  const { fd } = socket as { readonly fd?: unknown };
  const peer = typeof fd === "number" && fd >= 0 ? unixPeerOf(fd) : undefined;
  return peer === undefined || peer.uid === 0 || peer.uid === process.geteuid?.();
}

class StatusConnection implements Disposable {
  readonly #socket: Bun.Socket<StatusConnection>;
  readonly #options: StatusServerOptions;
  readonly #isAllowed: boolean;
  #request = "";
  #isAnswering = false;
  /** What has not been sent yet; `undefined` until there is a response. */
  #response: Uint8Array | undefined;
  #limit: Disposable | undefined;

  constructor(
    socket: Bun.Socket<StatusConnection>,
    options: StatusServerOptions,
    client: { readonly isAllowed: boolean },
  ) {
    this.#socket = socket;
    this.#options = options;
    this.#isAllowed = client.isAllowed;
  }

  closeAfter(ms: number, clock: Clock): void {
    this.#limit = clock.setTimer(ms, () => this.#socket.terminate());
  }

  receive(bytes: Uint8Array): void {
    if (this.#isAnswering) return;
    this.#request += new TextDecoder("latin1").decode(bytes.subarray(0, MAX_REQUEST_BYTES + 1));
    const end = this.#request.search(/\r?\n\r?\n/);
    if (end < 0 && this.#request.length <= MAX_REQUEST_BYTES) return;
    if (end < 0 || end > MAX_REQUEST_BYTES) return this.refuse(431, "the request is too long");
    // Whatever follows the request is not read.
    this.#isAnswering = true;
    void this.#answer(this.#request.slice(0, end));
  }

  /** Sends what the socket takes; the rest follows when it takes more. */
  flush(): void {
    if (this.#response === undefined) return;
    const written = this.#socket.write(this.#response);
    this.#response = this.#response.subarray(Math.max(written, 0));
    if (this.#response.length === 0) this.#socket.end();
  }

  refuse(status: number, error: string): void {
    this.#respond(status, { error });
  }

  [Symbol.dispose](): void {
    this.#limit?.[Symbol.dispose]();
  }

  async #answer(request: string): Promise<void> {
    const [, method, target = ""] = /^([A-Z]+) (\S+) HTTP\/1\.[01]\r?(?:\n|$)/.exec(request) ?? [];
    if (method === undefined) return this.refuse(400, "the request is not HTTP/1.1");
    // Not earlier: a client that is still sending would not read the response.
    if (!this.#isAllowed) {
      return this.refuse(403, "only root and the user of flanneld may use this");
    }
    const { documents, log } = this.#options;
    const [path = "", query = ""] = target.split("?", 2);
    if (!Object.hasOwn(documents, path)) {
      return this.refuse(404, `not found; try ${Object.keys(documents).join(", ")}`);
    }
    if (method !== "GET") return this.refuse(405, "only GET is served");
    try {
      this.#respond(200, await documents[path]?.(new URLSearchParams(query)));
    } catch (error) {
      if (error instanceof QueryError) return this.refuse(400, error.message);
      log.error({ err: error }, `cannot make the document ${path}; this is a bug in flanneld`);
      this.refuse(500, "internal error; the log has the reason");
    }
  }

  #respond(status: number, document: unknown): void {
    this.#isAnswering = true;
    const body = Buffer.from(`${JSON.stringify(document, null, 2)}\n`);
    const head = `HTTP/1.1 ${status} ${REASONS[status]}\r\n` +
      "Content-Type: application/json\r\nCache-Control: no-store\r\nConnection: close\r\n" +
      `Content-Length: ${body.length}\r\n\r\n`;
    this.#request = "";
    this.#response = Buffer.concat([Buffer.from(head), body]);
    this.flush();
  }
}

const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
};
