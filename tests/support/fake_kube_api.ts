/** An HTTP server in place of a kube-apiserver, whose responses a test writes byte by byte. */

import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";

export interface FakeRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly url: URL;
  /** With names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Of the connection, counted from 1. */
  readonly connection: number;
}

/** Writes the response to the socket, or nothing. */
export type FakeResponse = (request: FakeRequest, socket: Socket) => void;

export class FakeKubeApi implements AsyncDisposable {
  readonly url: string;
  readonly requests: FakeRequest[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #respond: FakeResponse;
  #connections = 0;

  static async start(respond: FakeResponse, tls?: TlsOptions): Promise<FakeKubeApi> {
    const server = tls === undefined ? createServer() : createTlsServer(tls);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new FakeKubeApi(server, { scheme: tls === undefined ? "http" : "https", respond });
  }

  private constructor(
    server: Server,
    { scheme, respond }: { readonly scheme: string; readonly respond: FakeResponse },
  ) {
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the server has no port");
    this.url = `${scheme}://127.0.0.1:${address.port}`;
    this.#server = server;
    this.#respond = respond;
    server.on("tlsClientError", () => {});
    server.on(scheme === "http" ? "connection" : "secureConnection", (socket: Socket) => {
      this.#serve(socket, ++this.#connections);
    });
  }

  respondWith(respond: FakeResponse): void {
    this.#respond = respond;
  }

  get connections(): number {
    return this.#connections;
  }

  /** Connections that are open. */
  get open(): number {
    return this.#sockets.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: Socket, connection: number): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
    let received = "";
    socket.on("data", (data) => {
      received += data.toString();
      for (;;) {
        const request = parseRequest(received, connection);
        if (request === undefined) return;
        received = received.slice(request.length);
        this.requests.push(request.request);
        this.#respond(request.request, socket);
      }
    });
  }
}

function parseRequest(
  text: string,
  connection: number,
): { readonly request: FakeRequest; readonly length: number } | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const [method = "", path = ""] = first.split(" ");
  const headers = Object.fromEntries(lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  }));
  const length = end + 4 + Number(headers["content-length"] ?? 0);
  if (text.length < length) return undefined;
  const body = text.slice(end + 4, length);
  const url = new URL(path, "http://fake");
  return { request: { method, path, url, headers, body, connection }, length };
}

/** A complete response with a JSON body. */
export function json(
  value: unknown,
  { status = 200, headers = {} }: {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
  } = {},
): FakeResponse {
  return whole(JSON.stringify(value), {
    status,
    headers: { "Content-Type": "application/json", ...headers },
  });
}

export function whole(
  body: string,
  { status = 200, headers = {} }: {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
  } = {},
): FakeResponse {
  const lines = Object.entries({ "Content-Length": String(Buffer.byteLength(body)), ...headers })
    .map(([name, value]) => `${name}: ${value}\r\n`);
  return (_request, socket) => {
    socket.write(`HTTP/1.1 ${status} Text\r\n${lines.join("")}\r\n${body}`);
  };
}

/** The server's Status for a failure. */
export function failure(
  code: number,
  reason: string,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): FakeResponse {
  const status = { kind: "Status", apiVersion: "v1", status: "Failure", message, reason, code };
  return json(status, { status: code, headers });
}

/** The beginning of a response of unknown length. */
export function startChunks(socket: Socket): void {
  socket.write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n");
  socket.write("Transfer-Encoding: chunked\r\n\r\n");
}

export function chunk(socket: Socket, text: string): void {
  socket.write(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
}

export function endChunks(socket: Socket): void {
  socket.write("0\r\n\r\n");
}

/** One response after the other; the last one repeats. */
export function inTurn(...responses: readonly FakeResponse[]): FakeResponse {
  let next = 0;
  return (request, socket) => {
    const respond = responses[Math.min(next++, responses.length - 1)] as FakeResponse;
    respond(request, socket);
  };
}
