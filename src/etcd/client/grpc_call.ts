/**
 * One gRPC call on an HTTP/2 stream
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): the framing, the status in the
 * trailers, the deadline and cancellation.
 */

import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
} from "node:http2";
import type { Clock } from "../../base/clock.ts";
import { frame, type FrameHeader, MessageFrames } from "../api/message_frames.ts";
import type { RpcMethod } from "./etcd_messages.ts";
import { Code, codeOfNumber, GrpcError } from "./grpc_error.ts";

/** A snapshot of some 500 000 leases. A corrupted length may not cause an allocation of 4 GiB. */
const READ_MAX_BYTES = 128 << 20;
/** Decoded messages that wait for the caller, before the server has to wait. */
const MAX_QUEUED = 8;

export interface CallOptions {
  /** Metadata, such as the token. */
  readonly header: Readonly<Record<string, string>>;
  /** Cancels the call. */
  readonly signal?: AbortSignal;
  /** For the whole call, until the last response; absent: no limit. */
  readonly timeoutMs?: number | undefined;
}

export interface CallRequest<Response> {
  readonly method: RpcMethod<never, Response>;
  /** The encoded message. */
  readonly message: Uint8Array;
  /** The client's side stays open after the message. */
  readonly keepOpen: boolean;
}

export interface CallEvents {
  /** Something was received. */
  readonly onReceived: () => void;
  /** The stream is closed. */
  readonly onClosed: () => void;
}

/**
 * The responses of a call. Iterating throws `GrpcError` for a failure, the signal's reason, the
 * error of the connection, or `RangeError` for a message that cannot be decoded. Leaving the loop
 * cancels the call.
 */
export class GrpcCall<Response> implements AsyncIterableIterator<Response, undefined> {
  readonly #stream: ClientHttp2Stream;
  readonly #method: RpcMethod<never, Response>;
  readonly #frames = new MessageFrames(assertReadable);
  readonly #queue: Response[] = [];
  #waiting: PromiseWithResolvers<IteratorResult<Response, undefined>> | undefined;
  /** How the call ended, once it has. */
  #end: { readonly failure: unknown } | "ok" | undefined;
  #headers: IncomingHttpHeaders | undefined;
  #trailers: IncomingHttpHeaders | undefined;
  readonly #cleanup = new DisposableStack();

  /** Sends the request. Throws if the session is closed, and the reason of an aborted signal. */
  constructor(
    session: ClientHttp2Session,
    { method, message, keepOpen }: CallRequest<Response>,
    { header, signal, timeoutMs }: CallOptions,
    { onReceived, onClosed, clock }: CallEvents & { readonly clock: Clock },
  ) {
    signal?.throwIfAborted();
    this.#method = method;
    const request = frame(message);
    const stream = session.request({
      ":method": "POST",
      ":path": `/${method.name}`,
      "content-type": "application/grpc",
      te: "trailers",
      ...(timeoutMs !== undefined && { "grpc-timeout": `${timeoutMs}m` }),
      ...header,
    });
    this.#stream = stream;
    stream.on("response", (headers) => {
      onReceived();
      this.#readHeaders(headers);
    });
    stream.on("trailers", (trailers) => this.#trailers = trailers);
    stream.on("data", (chunk: Uint8Array) => {
      onReceived();
      this.#readMessages(chunk);
    });
    stream.on("end", () => this.#readEnd());
    stream.on("error", (error: Error) => this.fail(error));
    stream.on("close", () => {
      onClosed();
      this.#readClose();
    });
    if (timeoutMs !== undefined) {
      const expire = () =>
        this.fail(new GrpcError("the operation timed out", Code.DeadlineExceeded));
      this.#cleanup.use(clock.setTimer(timeoutMs, expire));
    }
    const onAbort = () => this.fail(signal?.reason);
    signal?.addEventListener("abort", onAbort);
    this.#cleanup.defer(() => signal?.removeEventListener("abort", onAbort));
    if (keepOpen) stream.write(request);
    else stream.end(request);
  }

  /** Whether more requests may be sent. */
  get isOpen(): boolean {
    return this.#end === undefined && !this.#stream.closed && !this.#stream.destroyed;
  }

  /** Sends another request; only of a call that is kept open. */
  send(message: Uint8Array): void {
    this.#stream.write(frame(message));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Response, undefined>> {
    const value = this.#queue.shift();
    if (value !== undefined) {
      if (this.#queue.length === 0) this.#stream.resume();
      return Promise.resolve({ done: false, value });
    }
    if (this.#end === "ok") return Promise.resolve({ done: true, value: undefined });
    if (this.#end !== undefined) return Promise.reject(this.#end.failure);
    this.#waiting ??= Promise.withResolvers();
    return this.#waiting.promise;
  }

  return(): Promise<IteratorResult<Response, undefined>> {
    this.fail(new GrpcError("the call was cancelled", Code.Canceled));
    return Promise.resolve({ done: true, value: undefined });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  /** Ends the call with this error, unless it has ended. Responses that wait are dropped. */
  fail(failure: unknown): void {
    if (this.#end !== undefined) return;
    this.#queue.length = 0;
    this.#finish({ failure });
    // A paused stream is not closed before it has been read.
    this.#stream.resume();
    if (!this.#stream.closed) this.#stream.close(constants.NGHTTP2_CANCEL);
  }

  #finish(end: { readonly failure: unknown } | "ok"): void {
    this.#end = end;
    this.#cleanup[Symbol.dispose]();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (end === "ok") waiting?.resolve({ done: true, value: undefined });
    else waiting?.reject(end.failure);
  }

  #readHeaders(headers: IncomingHttpHeaders & { ":status"?: number | undefined }): void {
    this.#headers = headers;
    const { [":status"]: status = 0, "content-type": type, "grpc-encoding": encoding } = headers;
    if (status !== 200) return this.fail(new GrpcError(`HTTP ${status}`, codeOfHttp(status)));
    if (!/^application\/grpc(\+proto)?$/i.test(type ?? "")) {
      return this.fail(new GrpcError(`unsupported content type ${type}`, Code.Unknown));
    }
    if (encoding !== undefined && encoding !== "identity") {
      this.fail(new GrpcError(`protocol error: unknown encoding ${encoding}`, Code.Internal));
    }
  }

  #readMessages(chunk: Uint8Array): void {
    if (this.#end !== undefined) return;
    try {
      this.#frames.add(chunk);
      for (let bytes = this.#frames.message(); bytes; bytes = this.#frames.message()) {
        this.#deliver(this.#method.decode(bytes));
      }
    } catch (error) {
      this.fail(error);
    }
  }

  #deliver(value: Response): void {
    const waiting = this.#waiting;
    if (waiting !== undefined) {
      this.#waiting = undefined;
      waiting.resolve({ done: false, value });
    } else if (this.#queue.push(value) === MAX_QUEUED) {
      this.#stream.pause();
    }
  }

  /** The server has ended its side. Without a status, `#readClose` decides. */
  #readEnd(): void {
    if (this.#end !== undefined) return;
    if (!this.#stream.writableEnded) this.#stream.end();
    if (this.#frames.size > 0) {
      return this.fail(new GrpcError("protocol error: incomplete message", Code.Internal));
    }
    const status = this.#trailers?.["grpc-status"] ?? this.#headers?.["grpc-status"];
    if (status === undefined) return;
    if (status === "0") return this.#finish("ok");
    const code = codeOfNumber(Number(status));
    const text = `${this.#trailers?.["grpc-message"] ?? this.#headers?.["grpc-message"] ?? ""}`;
    const failure = code === undefined
      ? new GrpcError(`protocol error: unknown status ${status}`, Code.Internal)
      : new GrpcError(decoded(text), code);
    this.#finish({ failure });
  }

  #readClose(): void {
    if (this.#end !== undefined) return;
    const { rstCode } = this.#stream;
    if (rstCode !== constants.NGHTTP2_NO_ERROR || !this.#headers) {
      return this.fail(new GrpcError(`http/2 stream closed with ${rstCode}`, Code.Unavailable));
    }
    this.fail(new GrpcError("protocol error: missing status", Code.Internal));
  }
}

function assertReadable({ isCompressed, length }: FrameHeader): void {
  if (isCompressed) throw new GrpcError("protocol error: compressed message", Code.Internal);
  if (length <= READ_MAX_BYTES) return;
  throw new GrpcError(
    `a response of ${length} bytes is too large; the limit is ${READ_MAX_BYTES}`,
    Code.ResourceExhausted,
  );
}

/** Status messages are percent-encoded. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md */
function codeOfHttp(status: number): Code {
  switch (status) {
    case 400:
      return Code.Internal;
    case 401:
      return Code.Unauthenticated;
    case 403:
      return Code.PermissionDenied;
    case 404:
      return Code.Unimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return Code.Unavailable;
    default:
      return Code.Unknown;
  }
}
