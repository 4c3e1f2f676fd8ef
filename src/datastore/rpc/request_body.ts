/**
 * A request's body, which is always read to its end.
 *
 * Otherwise a request with an early response, for example because it is too large, would keep its
 * share of the connection's flow-control window (RFC 9113, section 5.2), and the client's other
 * streams would stall. The stream's own iterator destroys the stream when its loop is left, and
 * does not return that share.
 */

import { Code, ConnectError } from "@connectrpc/connect";
import type { Http2ServerRequest } from "node:http2";
import type { Clock } from "../../base/clock.ts";
import { RequestError } from "../mvcc/request_error.ts";
import type { Arrival } from "./message_stream.ts";

export interface RequestBodyOptions {
  readonly clock: Clock;
  /** Bytes of the incomplete messages of all bodies. */
  readonly unfinished: { bytes: number };
  readonly maxUnfinishedBytes: number;
  /** Limit until the first byte of the first message. */
  readonly firstMs: number;
  /** Limit from the first byte of a message to its last one. */
  readonly messageMs: number;
  /** Called when a client sends a message in too many tiny frames. */
  readonly onFlood: () => void;
}

/** Limit for the frames of one message with less than `SMALL_BYTES`. */
const MAX_SMALL_FRAMES = 1_000;
const SMALL_BYTES = 64;

export class RequestBody implements AsyncIterableIterator<Uint8Array>, Arrival {
  readonly #request: Http2ServerRequest;
  readonly #options: RequestBodyOptions;
  readonly #chunks: Uint8Array[] = [];
  #isUnwanted = false;
  #isOver = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #unfinishedBytes = 0;
  #smallFrames = 0;
  #isArriving = false;
  #timer: Disposable | undefined;

  constructor(request: Http2ServerRequest, options: RequestBodyOptions) {
    this.#request = request;
    this.#options = options;
    this.#startTimer(options.firstMs);
    request.on("data", (chunk: Uint8Array) => this.#take(chunk));
    request.on("end", () => this.#end());
    request.on("close", () => this.#end());
    request.on("error", (error: Error) => this.#end(error));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    for (;;) {
      const value = this.#chunks.shift();
      if (value !== undefined) {
        this.#request.resume();
        return { done: false, value };
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#isOver || this.#isUnwanted) return { done: true, value: undefined };
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.discard();
    return Promise.resolve({ done: true, value: undefined });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  /** Discards the rest of the body. */
  discard(): void {
    this.#isUnwanted = true;
    this.#chunks.length = 0;
    this.#release();
    this.#request.resume();
    this.#wake?.();
  }

  /** Throws `RequestError` if the incomplete messages of all clients take too many bytes. */
  waiting(bytes: number): void {
    const { unfinished, maxUnfinishedBytes } = this.#options;
    unfinished.bytes += bytes - this.#unfinishedBytes;
    this.#unfinishedBytes = bytes;
    if (bytes === 0) {
      this.#smallFrames = 0;
      this.#stopTimer();
    } else if (!this.#isArriving) {
      this.#stopTimer();
      this.#startTimer(this.#options.messageMs);
    }
    this.#isArriving = bytes > 0;
    if (bytes > 0 && unfinished.bytes > maxUnfinishedBytes) {
      throw new RequestError("tooManyRequests");
    }
  }

  #take(chunk: Uint8Array): void {
    if (chunk.length < SMALL_BYTES && ++this.#smallFrames > MAX_SMALL_FRAMES) {
      this.#options.onFlood();
      this.#end(new ConnectError("too many tiny frames in one message", Code.ResourceExhausted));
      return;
    }
    if (this.#isUnwanted) return;
    this.#chunks.push(chunk);
    // Continues when this chunk has been used.
    this.#request.pause();
    this.#wake?.();
  }

  #end(failure?: Error): void {
    this.#isOver = true;
    this.#failure ??= failure;
    this.#stopTimer();
    this.#wake?.();
  }

  #release(): void {
    this.#options.unfinished.bytes -= this.#unfinishedBytes;
    this.#unfinishedBytes = 0;
    this.#stopTimer();
  }

  #startTimer(ms: number): void {
    this.#timer = this.#options.clock.setTimer(ms, () => {
      const text = `no complete message within ${ms / 1000} s`;
      this.#end(new ConnectError(text, Code.DeadlineExceeded));
    });
  }

  #stopTimer(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }
}
