/** gRPC over HTTP/2, plain or with TLS. */

import { Code, type ConnectError, type ConnectRouter, type Interceptor } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import {
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import type { Log } from "../../log/log.ts";
import { DatastoreError } from "../datastore_error.ts";
import { MAX_MESSAGE_BYTES, MessageWriter } from "./message_stream.ts";
import { RequestBody } from "./request_body.ts";
import { rpcError } from "./rpc_error.ts";

export interface ServerOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: ServerTls | undefined;
  readonly routes: (router: ConnectRouter) => void;
  /** Calls that are served without Connect, by their path. */
  readonly streams: ReadonlyMap<string, StreamHandler>;
  readonly log: Log;
}

/** Answers the request that has this body. */
export type StreamHandler = (
  body: AsyncIterable<Uint8Array>,
  writer: MessageWriter,
) => Promise<void>;

export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** Clients need a certificate that this one has signed. */
  readonly clientCa?: string | undefined;
}

/** A client that has vanished without a word is noticed within about a minute. */
const PING_INTERVAL_MS = 45_000;
const PING_TIMEOUT_MS = 20_000;
const CLOSE_MS = 1_000;
/** For a client that is alive and takes nothing of what it has asked for. */
const STALL_MS = 60_000;

export class Server implements AsyncDisposable {
  /** The port that was given, or the one chosen for 0. */
  readonly port: number;
  readonly #server: Http2Server | Http2SecureServer;
  readonly #sessions: ReadonlySet<ServerHttp2Session>;

  /** Listens. Throws `DatastoreError` when it cannot. */
  static async start(options: ServerOptions): Promise<Server> {
    const handler = requestHandler(options);
    const { tls, host, port, log } = options;
    const server = tls === undefined ? createServer({}, handler) : secureServer(tls, handler);
    const sessions = new Set<ServerHttp2Session>();
    server.on("session", (session: ServerHttp2Session) => {
      sessions.add(session);
      session.on("close", () => sessions.delete(session));
      session.on("error", (error) => log.debug(`a connection failed: ${error.message}`));
      pingRegularly(session);
    });
    server.on("sessionError", (error) => log.debug(`a connection failed: ${error.message}`));
    server.on(
      "tlsClientError",
      (error: Error) => log.debug(`a TLS handshake failed: ${error.message}`),
    );
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(listenError(options, error)));
      server.listen(port, host, resolve);
    });
    server.on("error", (error: Error) => log.warn(`cannot accept connections: ${error.message}`));
    const address = server.address();
    return new Server(
      server,
      sessions,
      typeof address === "object" && address !== null ? address.port : port,
    );
  }

  private constructor(
    server: Http2Server | Http2SecureServer,
    sessions: ReadonlySet<ServerHttp2Session>,
    port: number,
  ) {
    this.#server = server;
    this.#sessions = sessions;
    this.port = port;
  }

  /** Refuses new calls, lets those under way end, and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions) session.close();
    const late = setTimeout(() => {
      for (const session of this.#sessions) session.destroy();
    }, CLOSE_MS);
    await closed;
    clearTimeout(late);
  }
}

type Handler = (request: Http2ServerRequest, response: Http2ServerResponse) => void;

function secureServer(tls: ServerTls, handler: Handler): Http2SecureServer {
  const { cert, key, clientCa } = tls;
  const mutual = clientCa && { ca: clientCa, requestCert: true, rejectUnauthorized: true };
  try {
    return createSecureServer({ cert, key, minVersion: "TLSv1.2", ...mutual }, handler);
  } catch (error) {
    throw new DatastoreError(
      `cannot use the certificate or its key: ${(error as Error).message}; check --cert-file, ` +
        "--key-file and --client-ca-file",
      { cause: error },
    );
  }
}

function requestHandler({ routes, streams, log }: ServerOptions): Handler {
  const handler = connectNodeAdapter({
    routes,
    connect: false,
    grpcWeb: false,
    acceptCompression: [],
    readMaxBytes: MAX_MESSAGE_BYTES,
    interceptors: [reportFailures(log)],
    fallback: (request, response) =>
      refuseByName(request as Http2ServerRequest, response as Http2ServerResponse),
  });
  return (request, response) => {
    const body = new RequestBody(request);
    request[Symbol.asyncIterator] = () => body;
    response.once("finish", () => body.discard());
    const stream = isBinary(request) ? streams.get(request.url) : undefined;
    if (stream === undefined) return (handler as Handler)(request, response);
    const writer = new MessageWriter(response, { stallMs: STALL_MS });
    const served = reportingFailures(log, request.url.slice(1), () => stream(body, writer));
    void served.then(() => writer.end(), (failure: ConnectError) => writer.end(failure));
  };
}

/** Whether the messages are those of protobuf, not JSON. */
function isBinary({ method, headers }: Http2ServerRequest): boolean {
  return method === "POST" && /^application\/grpc(\+proto)?$/.test(headers["content-type"] ?? "");
}

function reportFailures(log: Log): Interceptor {
  return (next) => (request) => {
    const name = `${request.service.typeName}/${request.method.name}`;
    return reportingFailures(log, name, () => next(request));
  };
}

/** Logs a call, and tells clients in gRPC's terms what the datastore throws. */
async function reportingFailures<T>(log: Log, name: string, call: () => Promise<T>): Promise<T> {
  log.trace(`call ${name}`);
  try {
    return await call();
  } catch (error) {
    const failure = rpcError(error);
    if (failure.code === Code.Internal) {
      log.error({ err: error }, `${name} fails; this is a fault of the program`);
    }
    throw failure;
  }
}

/** `/etcdserverpb.Maintenance/Snapshot` is a call of etcd that is not served. */
function refuseByName(request: Http2ServerRequest, response: Http2ServerResponse): void {
  const type = request.headers["content-type"] ?? "";
  if (!type.startsWith("application/grpc")) {
    response.writeHead(404);
    response.end();
    return;
  }
  const method = request.url.slice(1).replace("/", ".");
  response.writeHead(200, { "content-type": "application/grpc" });
  response.addTrailers({
    "grpc-status": String(Code.Unimplemented),
    "grpc-message": `flanneld datastore does not serve ${encodeURI(method)}`,
  });
  response.end();
}

function pingRegularly(session: ServerHttp2Session): void {
  const timer = setInterval(() => {
    const late = setTimeout(() => session.destroy(), PING_TIMEOUT_MS);
    const isSent = session.ping((error) => {
      clearTimeout(late);
      if (error) session.destroy();
    });
    if (!isSent) clearTimeout(late);
  }, PING_INTERVAL_MS);
  session.on("close", () => clearInterval(timer));
}

function listenError({ host, port }: ServerOptions, error: NodeJS.ErrnoException): DatastoreError {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: "the port is in use; is another etcd or datastore running? choose another --listen",
    EADDRNOTAVAIL: "this machine has no such address; choose another --listen",
    EACCES: "that port needs more rights; choose another --listen",
  };
  const reason = reasons[error.code ?? ""] ?? error.message;
  return new DatastoreError(`cannot listen on ${host} port ${port}: ${reason}`, { cause: error });
}
