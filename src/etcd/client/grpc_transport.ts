/** gRPC calls to one etcd member. */

import { unlessAborted } from "../../base/abort.ts";
import type { CallOptions, CallRequest, GrpcCall } from "./grpc_call.ts";
import type { RpcMethod } from "./etcd_messages.ts";
import { Code, GrpcError } from "./grpc_error.ts";
import type { SessionManager } from "./http2_session.ts";
import type { MonitoredSession } from "./monitored_session.ts";

/** All errors are those of `GrpcCall` and `SessionManager.ready`. */
export interface Transport {
  /** A call with one request and one response. */
  unary<Request, Response>(
    method: RpcMethod<Request, Response>,
    message: Request,
    options: CallOptions,
  ): Promise<Response>;
  /**
   * A call with one request and any number of responses. With `keepOpen`, the client's side stays
   * open after the request: etcd ends a watch when it is closed.
   */
  stream<Request, Response>(
    method: RpcMethod<Request, Response>,
    message: Request,
    options: CallOptions & { readonly keepOpen?: boolean },
  ): Promise<AsyncIterableIterator<Response>>;
  /**
   * A call with any number of requests, of which this is the first. The signal and the time limit
   * are those of the connection only: the call lasts until it fails.
   */
  open<Request, Response>(
    method: RpcMethod<Request, Response>,
    message: Request,
    options: CallOptions,
  ): Promise<OpenCall<Request, Response>>;
}

export interface OpenCall<Request, Response> {
  /** Whether the call stands, and its connection is not being closed. */
  readonly isUsable: boolean;
  send(message: Request): void;
  /** The next response. Rejects with what ended the call. */
  next(): Promise<IteratorResult<Response, undefined>>;
  /** Ends the call with this error. */
  fail(reason: unknown): void;
}

export class GrpcTransport implements Transport {
  readonly #sessions: SessionManager;

  constructor(sessions: SessionManager) {
    this.#sessions = sessions;
  }

  async unary<Request, Response>(
    method: RpcMethod<Request, Response>,
    message: Request,
    options: CallOptions,
  ): Promise<Response> {
    const request = { method, message: method.encode(message), keepOpen: false };
    await using call = (await this.#call(request, options)).call;
    const first = await call.next();
    if (first.done) throw new GrpcError("protocol error: no response message", Code.Internal);
    const second = await call.next();
    if (second.done) return first.value;
    throw new GrpcError("protocol error: more than one response message", Code.Internal);
  }

  async stream<Request, Response>(
    method: RpcMethod<Request, Response>,
    message: Request,
    options: CallOptions & { readonly keepOpen?: boolean },
  ): Promise<AsyncIterableIterator<Response>> {
    const { keepOpen = false } = options;
    const request = { method, message: method.encode(message), keepOpen };
    return (await this.#call(request, options)).call;
  }

  async open<Request, Response>(
    method: RpcMethod<Request, Response>,
    message: Request,
    options: CallOptions,
  ): Promise<OpenCall<Request, Response>> {
    const request = { method, message: method.encode(message), keepOpen: true };
    const { call, session } = await this.#call(request, options, { header: options.header });
    return {
      get isUsable() {
        return call.isOpen && session.isUsable;
      },
      send: (message) => call.send(method.encode(message)),
      next: () => call.next(),
      fail: (reason) => call.fail(reason),
    };
  }

  async #call<Response>(
    request: CallRequest<Response>,
    connectionOptions: CallOptions,
    callOptions = connectionOptions,
  ): Promise<{ readonly call: GrpcCall<Response>; readonly session: MonitoredSession }> {
    const session = await this.#session(connectionOptions);
    try {
      return { call: session.call(request, callOptions), session };
    } catch (error) {
      // It was closed in the meantime.
      if (session.isUsable) throw error;
      const next = await this.#session(connectionOptions);
      return { call: next.call(request, callOptions), session: next };
    }
  }

  /** The deadline of a call also limits how long a new connection may take. */
  async #session({ signal, timeoutMs }: CallOptions): Promise<MonitoredSession> {
    // No timer, which would outlive the call.
    const ready = this.#sessions.readySession;
    if (ready !== undefined) {
      signal?.throwIfAborted();
      return ready;
    }
    const deadline = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
    const limits = [signal, deadline].filter((one) => one !== undefined);
    try {
      return await unlessAborted(this.#sessions.ready(), AbortSignal.any(limits));
    } catch (error) {
      if (!deadline?.aborted || signal?.aborted) throw error;
      throw new GrpcError("the operation timed out", Code.DeadlineExceeded, { cause: error });
    }
  }
}
