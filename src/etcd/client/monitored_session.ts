/**
 * An open HTTP/2 session, monitored by PINGs as gRPC does it
 * (https://github.com/grpc/proposal/blob/master/A8-client-side-keepalive.md).
 */

import { type ClientHttp2Session, constants } from "node:http2";
import type { Clock } from "../../base/clock.ts";
import { type CallOptions, type CallRequest, GrpcCall } from "./grpc_call.ts";
import { Code, GrpcError } from "./grpc_error.ts";

export interface ConnectionTiming {
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
}

type RunningCall = Pick<GrpcCall<unknown>, "fail">;

const IDLE_CLOSE_MS = 300_000;

export class MonitoredSession {
  readonly session: ClientHttp2Session;
  readonly #clock: Clock;
  readonly #pingTimeoutMs: number;
  #pingIntervalMs: number;
  readonly #calls = new Set<RunningCall>();
  /** When the connection was last seen to work. */
  #aliveMs: number;
  #idleSinceMs: number;
  #timer: Disposable | undefined;
  #timerDueMs = 0;
  /** The PING that waits for its response. */
  #ping: Promise<boolean> | undefined;
  /** The server has announced the end of the connection (RFC 9113 6.8). */
  #isDraining = false;

  /** `onClosed` is called once, with the interval of PINGs (ms) that the server demands. */
  constructor(
    session: ClientHttp2Session,
    { timing, clock, onClosed }: {
      readonly timing: ConnectionTiming;
      readonly clock: Clock;
      readonly onClosed: (pingIntervalMs: number) => void;
    },
  ) {
    this.session = session;
    this.#clock = clock;
    this.#pingIntervalMs = timing.pingIntervalMs;
    this.#pingTimeoutMs = timing.pingTimeoutMs;
    this.#aliveMs = this.#idleSinceMs = clock.nowMs();
    // The streams report it as well, but only after the session is closed.
    let failure: Error = CONNECTION_CLOSED;
    session.once("error", (error: Error) => failure = error);
    session.once("close", () => {
      this.#timer?.[Symbol.dispose]();
      for (const call of this.#calls) call.fail(failure);
      onClosed(this.#pingIntervalMs);
    });
    session.on("goaway", (code, _lastStream, data) => this.#drain(code, data));
    this.#schedule();
  }

  /** Whether new calls may use it. */
  get isUsable(): boolean {
    return !this.#isDraining && !this.session.closed && !this.session.destroyed;
  }

  get hasCalls(): boolean {
    return this.#calls.size > 0;
  }

  /** Nothing was received for so long that a PING has to show whether it still works. */
  get isDoubtful(): boolean {
    return this.#clock.nowMs() - this.#aliveMs > this.#pingIntervalMs;
  }

  get isPinging(): boolean {
    return this.#ping !== undefined;
  }

  /** Sends a request. Throws if the connection is closed. */
  call<Response>(
    request: CallRequest<Response>,
    options: CallOptions,
  ): GrpcCall<Response> {
    const call: GrpcCall<Response> = new GrpcCall(this.session, request, options, {
      clock: this.#clock,
      onReceived: () => this.#received(),
      onClosed: () => this.#remove(call),
    });
    const wasIdle = !this.hasCalls;
    this.#calls.add(call);
    if (wasIdle) this.#schedule();
    return call;
  }

  /** Sends a PING. Returns whether the server responded in time; otherwise closes the session. */
  ping(): Promise<boolean> {
    this.#ping ??= this.#pingOnce().finally(() => this.#ping = undefined);
    return this.#ping;
  }

  /** Closes the connection; its calls fail with this error. */
  destroy(reason: Error): void {
    for (const call of this.#calls) call.fail(reason);
    if (!this.session.destroyed) this.session.destroy(undefined, constants.NGHTTP2_CANCEL);
  }

  /**
   * Something was received, so the next PING can wait. A timer that is due soon is moved: it would
   * only wake the program to be set again. The others are left, because moving one costs more than
   * many events that are received.
   */
  #received(): void {
    this.#aliveMs = this.#clock.nowMs();
    if (this.#timerDueMs - this.#aliveMs < this.#pingIntervalMs / 2) this.#schedule();
  }

  async #pingOnce(): Promise<boolean> {
    if (this.session.closed || this.session.destroyed) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const onClose = () => resolve(false);
    this.session.once("close", onClose);
    using _timer = this.#clock.setTimer(this.#pingTimeoutMs, () => {
      this.destroy(new GrpcError("PING timed out", Code.Unavailable));
      resolve(false);
    });
    this.session.ping((error) => {
      if (error) return;
      this.#aliveMs = this.#clock.nowMs();
      resolve(true);
    });
    const isAlive = await promise;
    this.session.off("close", onClose);
    return isAlive;
  }

  #remove(call: RunningCall): void {
    this.#calls.delete(call);
    if (this.hasCalls) return;
    this.#idleSinceMs = this.#clock.nowMs();
    if (this.#isDraining) this.session.close();
    else this.#schedule();
  }

  /** One timer: for the next PING while there are calls, otherwise for the end of the session. */
  #schedule(): void {
    this.#timer?.[Symbol.dispose]();
    if (this.session.closed || this.session.destroyed) return;
    const dueMs = this.hasCalls
      ? this.#aliveMs + this.#pingIntervalMs
      : this.#idleSinceMs + IDLE_CLOSE_MS;
    this.#timerDueMs = dueMs;
    const delayMs = Math.max(0, dueMs - this.#clock.nowMs());
    this.#timer = this.#clock.setTimer(delayMs, () => void this.#onTimer());
  }

  async #onTimer(): Promise<void> {
    const nowMs = this.#clock.nowMs();
    if (!this.hasCalls) {
      if (nowMs - this.#idleSinceMs >= IDLE_CLOSE_MS) return this.session.close();
    } else if (nowMs - this.#aliveMs >= this.#pingIntervalMs) {
      await this.ping();
    }
    this.#schedule();
  }

  #drain(code: number, data: Uint8Array | undefined): void {
    this.#isDraining = true;
    // As gRPC demands of a client whose PINGs the server considers too frequent.
    if (data !== undefined && Buffer.from(data).toString() === "too_many_pings") {
      this.#pingIntervalMs *= 2;
    }
    if (code === constants.NGHTTP2_NO_ERROR && !this.hasCalls) this.session.destroy();
  }
}

const CONNECTION_CLOSED = new GrpcError(
  "http/2 stream closed with its connection",
  Code.Unavailable,
);
