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
    await using call = await this.#call(
      { method, message: method.encode(message), keepOpen: false },
      options,
    );
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
    return await this.#call({ method, message: method.encode(message), keepOpen }, options);
  }

  async #call<Response>(
    request: CallRequest<Response>,
    options: CallOptions,
  ): Promise<GrpcCall<Response>> {
    const session = await this.#session(options);
    try {
      return session.call(request, options);
    } catch (error) {
      // It was closed in the meantime.
      if (session.isUsable) throw error;
      return (await this.#session(options)).call(request, options);
    }
  }

  /** The deadline of a call also limits how long a new connection may take. */
  async #session({ signal, timeoutMs }: CallOptions): Promise<MonitoredSession> {
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
