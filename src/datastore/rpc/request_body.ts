/**
 * A request's body that is always read to its end.
 *
 * A request that is answered early, as one that is too large is, would otherwise keep its share of the
 * connection's window (RFC 9113, section 5.2), and the client's other streams would stand still. The
 * stream's own iterator destroys the stream when it is left, without giving that share back.
 */

import type { Http2ServerRequest } from "node:http2";

export class RequestBody implements AsyncIterableIterator<Uint8Array> {
  readonly #request: Http2ServerRequest;
  readonly #chunks: Uint8Array[] = [];
  #isUnwanted = false;
  #isOver = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(request: Http2ServerRequest) {
    this.#request = request;
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

  /** Throws away what is still to come. */
  discard(): void {
    this.#isUnwanted = true;
    this.#chunks.length = 0;
    this.#request.resume();
    this.#wake?.();
  }

  #take(chunk: Uint8Array): void {
    if (this.#isUnwanted) return;
    this.#chunks.push(chunk);
    // The client may send on when this one has been used.
    this.#request.pause();
    this.#wake?.();
  }

  #end(failure?: Error): void {
    this.#isOver = true;
    this.#failure ??= failure;
    this.#wake?.();
  }
}
