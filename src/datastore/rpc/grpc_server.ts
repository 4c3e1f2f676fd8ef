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
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/operator_error.ts";
import type { Log } from "../../log/log.ts";
import type { Caller } from "../access/auth_sessions.ts";
import type { KeyedCertificate } from "../access/certificate.ts";
import { DatastoreError } from "../mvcc/datastore_error.ts";
import { RequestError } from "../mvcc/request_error.ts";
import { ClientConnections } from "./client_connections.ts";
import { frame } from "../../etcd/api/message_frames.ts";
import { MAX_REQUEST_MESSAGE_BYTES, MessageWriter, readMessages } from "./message_stream.ts";
import { RequestBody } from "./request_body.ts";
import { rpcError } from "./rpc_error.ts";
import { defaultLimits, type ServerLimits } from "./server_limits.ts";

export interface GrpcServerOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: GrpcServerTls | undefined;
  readonly routes: (router: ConnectRouter) => void;
  /** Handlers of the calls that do not go through Connect, by their path. */
  readonly streams: ReadonlyMap<string, StreamHandler>;
  /** Paths of calls whose first request may take up to `firstRequestMs`. */
  readonly longWait?: ReadonlySet<string>;
  readonly clock: Clock;
  readonly log: Log;
  /** Who may call; `undefined`: every client. */
  readonly guard?: CallGuard | undefined;
  /** Overrides the default limits. */
  readonly limits?: Partial<ServerLimits> | undefined;
}

/** Serves a call whose request consists of these messages. */
export type StreamHandler = (
  messages: AsyncIterable<Uint8Array>,
  writer: MessageWriter,
  caller?: Caller,
) => Promise<void>;

export interface CallGuard {
  /**
   * Who calls, by the token that the call carries; `undefined` if this path is open to every
   * client. Throws `RequestError`.
   */
  admit(path: string, token: string | undefined): Caller | undefined;
}

export interface GrpcServerTls {
  readonly cert: string;
  readonly key: string;
  /** CAs that must have signed the certificate of a client. */
  readonly clientCa?: string | undefined;
}

const CLOSE_MS = 1_000;
const HANDSHAKE_MS = 10_000;

export class GrpcServer implements AsyncDisposable {
  /** The given port, or the chosen one for port 0. */
  readonly port: number;
  readonly #server: Http2Server | Http2SecureServer;
  readonly #connections: ClientConnections;
  readonly #clock: Clock;

  /** Throws `DatastoreError` if it cannot listen. */
  static async start(options: GrpcServerOptions): Promise<GrpcServer> {
    const { tls, host, port, clock, log } = options;
    const limits = { ...defaultLimits(), ...options.limits };
    const settings = { maxConcurrentStreams: limits.streamsPerConnection };
    const server = tls === undefined ? createServer({ settings }) : secureServer(tls, settings);
    const connections = new ClientConnections(server, { limits, clock, log });
    server.on("request", requestHandler(options, limits, connections));
    server.on("sessionError", (error) => log.debug(`connection failed: ${error.message}`));
    server.on(
      "tlsClientError",
      (error: Error) => log.debug(`TLS handshake failed: ${error.message}`),
    );
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(listenError(options, error)));
      server.listen(port, host, resolve);
    });
    server.on("error", (error: Error) => log.warn(`cannot accept connections: ${error.message}`));
    const address = server.address();
    const actualPort = typeof address === "object" && address !== null ? address.port : port;
    return new GrpcServer({ server, connections, port: actualPort, clock });
  }

  private constructor({ server, connections, port, clock }: {
    readonly server: Http2Server | Http2SecureServer;
    readonly connections: ClientConnections;
    readonly port: number;
    readonly clock: Clock;
  }) {
    this.#server = server;
    this.#connections = connections;
    this.#clock = clock;
    this.port = port;
  }

  /** New connections get this certificate. Only for a server with TLS. */
  replaceCertificate({ cert, key }: KeyedCertificate): void {
    (this.#server as Http2SecureServer).setSecureContext({ cert, key, minVersion: MIN_TLS });
  }

  /** Closes the connections on which this caller has called. */
  disconnect(caller: Caller): void {
    this.#connections.disconnect(caller);
  }

  /** Rejects new calls, waits a moment for the current ones, and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#connections.close();
    using _timer = this.#clock.setTimer(CLOSE_MS, () => this.#connections.destroy());
    await closed;
  }
}

const MIN_TLS = "TLSv1.2";

type Handler = (request: Http2ServerRequest, response: Http2ServerResponse) => void;

function secureServer(tls: GrpcServerTls, settings: Settings): Http2SecureServer {
  const { cert, key, clientCa } = tls;
  const mutual = clientCa && { ca: clientCa, requestCert: true, rejectUnauthorized: true };
  try {
    const options = { cert, key, settings, handshakeTimeout: HANDSHAKE_MS };
    return createSecureServer({ ...options, minVersion: MIN_TLS, ...mutual });
  } catch (error) {
    throw new DatastoreError(
      `cannot load the TLS certificate: ${
        errorMessage(error)
      }; check --cert-file, --key-file and ` +
        "--client-ca-file",
      { cause: error },
    );
  }
}

function requestHandler(
  { routes, streams, longWait, guard, clock, log }: GrpcServerOptions,
  limits: ServerLimits,
  connections: ClientConnections,
): Handler {
  const handler = connectNodeAdapter({
    routes,
    connect: false,
    grpcWeb: false,
    acceptCompression: [],
    readMaxBytes: MAX_REQUEST_MESSAGE_BYTES,
    interceptors: [failureLogger(log)],
    fallback: (request, response) =>
      rejectUnknown(request as Http2ServerRequest, response as Http2ServerResponse),
  });
  const unfinished = { bytes: 0 };
  return (request, response) => {
    if (!connections.admit(request, response)) return reject(response, TOO_MANY);
    limitTimeout(request);
    const body = new RequestBody(request, {
      clock,
      unfinished,
      maxUnfinishedBytes: limits.requestBytes,
      firstMs: longWait?.has(request.url) ? limits.firstRequestMs : limits.requestMs,
      messageMs: limits.requestMs,
      onFlood: () => connections.closeAbusive(request, "it sends its request in tiny frames"),
    });
    response.once("close", () => body.discard());
    response.once("finish", () => body.discard());
    const messages = readMessages(body, body);
    let stream = isBinary(request) ? streams.get(request.url) : undefined;
    let caller: Caller | undefined;
    try {
      caller = guard?.admit(request.url, tokenOf(request));
      if (caller !== undefined) connections.note(request, caller);
    } catch (error) {
      stream = () => Promise.reject(error);
    }
    if (stream === undefined) {
      request[Symbol.asyncIterator] = () => wholeFrames(messages);
      return (handler as Handler)(request, response);
    }
    const writer = new MessageWriter(response, { stallMs: limits.stallMs, clock });
    const served = loggingFailures(
      log,
      request.url.slice(1),
      () => stream(messages, writer, caller),
    );
    void served.then(() => writer.end(), (failure: ConnectError) => writer.end(failure));
  };
}

const TOO_MANY = new RequestError("tooManyRequests");

/** Each message in one chunk: Connect is slow at joining many small chunks. */
async function* wholeFrames(messages: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    for await (const message of messages) yield frame(message);
  } catch (error) {
    throw rpcError(error);
  }
}

/** As in etcd: gRPC clients send `token`, its HTTP gateway `authorization`. */
function tokenOf({ headers }: Http2ServerRequest): string | undefined {
  const value = headers["token"] ?? headers["authorization"];
  return typeof value === "string" ? value : undefined;
}

/** Removes a deadline that exceeds the range of timers; it would expire at once. */
function limitTimeout({ headers }: Http2ServerRequest): void {
  const [, value, unit = ""] = /^(\d{1,8})([HMS])$/.exec(`${headers["grpc-timeout"]}`) ?? [];
  const seconds = Number(value) * (SECONDS_OF[unit] ?? 0);
  if (seconds > LONGEST_TIMER_SECONDS) delete headers["grpc-timeout"];
}

const SECONDS_OF: Readonly<Record<string, number>> = { H: 3_600, M: 60, S: 1 };
/** 31 bits of milliseconds. */
const LONGEST_TIMER_SECONDS = 2_147_483;

function reject(response: Http2ServerResponse, { code, message }: RequestError): void {
  response.writeHead(200, { "content-type": "application/grpc" });
  response.addTrailers({ "grpc-status": String(code), "grpc-message": encodeURI(message) });
  response.end();
}

/** Whether the messages are protobuf, not JSON. */
function isBinary({ method, headers }: Http2ServerRequest): boolean {
  return method === "POST" && /^application\/grpc(\+proto)?$/.test(headers["content-type"] ?? "");
}

function failureLogger(log: Log): Interceptor {
  return (next) => (request) => {
    const name = `${request.service.typeName}/${request.method.name}`;
    return loggingFailures(log, name, () => next(request));
  };
}

/** Logs a call, and throws its failure as a gRPC error for the client. */
async function loggingFailures<T>(log: Log, name: string, call: () => Promise<T>): Promise<T> {
  log.trace(`call ${name}`);
  try {
    return await call();
  } catch (error) {
    const failure = rpcError(error);
    if (failure.code === Code.Internal) {
      log.error({ err: error }, `${name} failed; this is a bug in flanneld`);
    }
    throw failure;
  }
}

/** For calls of etcd that are not implemented, such as `/etcdserverpb.Maintenance/Snapshot`. */
function rejectUnknown(request: Http2ServerRequest, response: Http2ServerResponse): void {
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
    "grpc-message": `flanneld datastore does not implement ${encodeURI(method)}`,
  });
  response.end();
}

function listenError(
  { host, port }: GrpcServerOptions,
  error: NodeJS.ErrnoException,
): DatastoreError {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE:
      "the port is in use, perhaps by an etcd or another datastore; choose another --listen",
    EADDRNOTAVAIL: "this machine has no such address; choose another --listen",
    EACCES: "permission denied for that port; choose another --listen",
  };
  const reason = reasons[error.code ?? ""] ?? error.message;
  return new DatastoreError(`cannot listen on ${host} port ${port}: ${reason}`, { cause: error });
}
