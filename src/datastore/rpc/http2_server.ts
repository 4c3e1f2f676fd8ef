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
  type Settings,
} from "node:http2";
import type { Log } from "../../log/log.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import { RequestError } from "../mvcc/request_error.ts";
import { ClientConnections } from "./connections.ts";
import { frame, MAX_MESSAGE_BYTES, MessageWriter, readMessages } from "./message_stream.ts";
import { RequestBody } from "./request_body.ts";
import { rpcError } from "./rpc_error.ts";
import { defaultLimits, type ServerLimits } from "./server_limits.ts";

export interface ServerOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: ServerTls | undefined;
  readonly routes: (router: ConnectRouter) => void;
  /** Calls that are served without Connect, by their path. */
  readonly streams: ReadonlyMap<string, StreamHandler>;
  /** Paths of calls whose first request may take up to `firstRequestMs`. */
  readonly longWait?: ReadonlySet<string>;
  readonly log: Log;
  /** Overrides the default limits. */
  readonly limits?: Partial<ServerLimits> | undefined;
}

/** Answers the request that has these messages. */
export type StreamHandler = (
  messages: AsyncIterable<Uint8Array>,
  writer: MessageWriter,
) => Promise<void>;

export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  /** Clients need a certificate that this one has signed. */
  readonly clientCa?: string | undefined;
}

const CLOSE_MS = 1_000;
const HANDSHAKE_MS = 10_000;

export class Server implements AsyncDisposable {
  /** The port that was given, or the one chosen for 0. */
  readonly port: number;
  readonly #server: Http2Server | Http2SecureServer;
  readonly #connections: ClientConnections;

  /** Listens. Throws `DatastoreError` when it cannot. */
  static async start(options: ServerOptions): Promise<Server> {
    const { tls, host, port, log } = options;
    const limits = { ...defaultLimits(), ...options.limits };
    const settings = { maxConcurrentStreams: limits.streamsPerConnection };
    const server = tls === undefined ? createServer({ settings }) : secureServer(tls, settings);
    const connections = new ClientConnections(server, limits, log);
    server.on("request", requestHandler(options, limits, connections));
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
      connections,
      typeof address === "object" && address !== null ? address.port : port,
    );
  }

  private constructor(
    server: Http2Server | Http2SecureServer,
    connections: ClientConnections,
    port: number,
  ) {
    this.#server = server;
    this.#connections = connections;
    this.port = port;
  }

  /** Refuses new calls, lets those under way end, and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#connections.close();
    const late = setTimeout(() => this.#connections.destroy(), CLOSE_MS);
    await closed;
    clearTimeout(late);
  }
}

type Handler = (request: Http2ServerRequest, response: Http2ServerResponse) => void;

function secureServer(tls: ServerTls, settings: Settings): Http2SecureServer {
  const { cert, key, clientCa } = tls;
  const mutual = clientCa && { ca: clientCa, requestCert: true, rejectUnauthorized: true };
  try {
    const options = { cert, key, settings, handshakeTimeout: HANDSHAKE_MS };
    return createSecureServer({ ...options, minVersion: "TLSv1.2", ...mutual });
  } catch (error) {
    throw new DatastoreError(
      `cannot use the certificate or its key: ${(error as Error).message}; check --cert-file, ` +
        "--key-file and --client-ca-file",
      { cause: error },
    );
  }
}

function requestHandler(
  { routes, streams, longWait, log }: ServerOptions,
  limits: ServerLimits,
  connections: ClientConnections,
): Handler {
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
  const unfinished = { bytes: 0 };
  return (request, response) => {
    if (!connections.admit(request, response)) return refuse(response, TOO_MANY);
    limitTimeout(request);
    const body = new RequestBody(request, {
      unfinished,
      maxUnfinishedBytes: limits.requestBytes,
      firstMs: longWait?.has(request.url) ? limits.firstRequestMs : limits.requestMs,
      messageMs: limits.requestMs,
      onFlood: () => connections.closeAbusive(request, "it sends its request in tiny frames"),
    });
    response.once("close", () => body.discard());
    response.once("finish", () => body.discard());
    const messages = readMessages(body, body);
    const stream = isBinary(request) ? streams.get(request.url) : undefined;
    if (stream === undefined) {
      request[Symbol.asyncIterator] = () => wholeFrames(messages);
      return (handler as Handler)(request, response);
    }
    const writer = new MessageWriter(response, limits);
    const served = reportingFailures(log, request.url.slice(1), () => stream(messages, writer));
    void served.then(() => writer.end(), (failure: ConnectError) => writer.end(failure));
  };
}

const TOO_MANY = new RequestError("tooManyRequests");

/** Each message in one chunk: Connect is slow to join many small ones. */
async function* wholeFrames(messages: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    for await (const message of messages) yield frame(message);
  } catch (error) {
    throw rpcError(error);
  }
}

/** Removes a deadline that exceeds the range of timers. */
function limitTimeout({ headers }: Http2ServerRequest): void {
  const [, value, unit = ""] = /^(\d{1,8})([HMS])$/.exec(`${headers["grpc-timeout"]}`) ?? [];
  const seconds = Number(value) * (SECONDS_OF[unit] ?? 0);
  if (seconds > LONGEST_TIMER_SECONDS) delete headers["grpc-timeout"];
}

const SECONDS_OF: Readonly<Record<string, number>> = { H: 3_600, M: 60, S: 1 };
/** 31 bits of milliseconds. */
const LONGEST_TIMER_SECONDS = 2_147_483;

function refuse(response: Http2ServerResponse, { code, message }: RequestError): void {
  response.writeHead(200, { "content-type": "application/grpc" });
  response.addTrailers({ "grpc-status": String(code), "grpc-message": encodeURI(message) });
  response.end();
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

function listenError({ host, port }: ServerOptions, error: NodeJS.ErrnoException): DatastoreError {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: "the port is in use; is another etcd or datastore running? choose another --listen",
    EADDRNOTAVAIL: "this machine has no such address; choose another --listen",
    EACCES: "that port needs more rights; choose another --listen",
  };
  const reason = reasons[error.code ?? ""] ?? error.message;
  return new DatastoreError(`cannot listen on ${host} port ${port}: ${reason}`, { cause: error });
}
