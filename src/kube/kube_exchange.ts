/**
 * One HTTP request to the API server: limits of time while it is sent and received, and the body in
 * pieces. https://kubernetes.io/docs/reference/using-api/api-concepts/
 */

import type { Clock } from "../base/clock.ts";
import { OperatorError } from "../base/operator_error.ts";
import type { KubeAccess } from "./kube_access.ts";

export interface KubeHttpRequest {
  readonly method: "GET" | "PATCH";
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface ExchangeLimits {
  /** Until the response begins. */
  readonly responseMs: number;
  /** Between two pieces of the body; no shorter than `responseMs`. */
  readonly silenceMs: number;
  /** For the whole response; absent for a watch. */
  readonly totalMs?: number;
  /** What to check if no response begins, for the message. */
  readonly responseHint?: string;
}

/** The server is too slow, or has gone silently. */
export class SilenceError extends OperatorError {
  override readonly name = "SilenceError";
}

/** A response whose body is not read yet. Disposing of it ends the connection if it is not read. */
export class KubeExchange implements Disposable {
  readonly response: Response;
  readonly #limit: SilenceLimit;

  /** Throws what `fetch` throws, `SilenceError`, or the reason of `signal`. */
  static async start(
    request: KubeHttpRequest,
    { server, tls, authorization, proxyUrl }: KubeAccess,
    options: {
      readonly limits: ExchangeLimits;
      readonly clock: Clock;
      readonly signal: AbortSignal;
    },
  ): Promise<KubeExchange> {
    const limit = new SilenceLimit(options);
    try {
      const response = await fetch(`${server}${request.path}`, {
        method: request.method,
        headers: {
          ...request.headers,
          // The server would spend more on compression than the network on the difference.
          "Accept-Encoding": "identity",
          ...(authorization === undefined ? {} : { Authorization: authorization }),
        },
        ...(request.body === undefined ? {} : { body: request.body }),
        // A redirection would pass the token on to another server.
        redirect: "manual",
        signal: limit.signal,
        tls,
        ...(proxyUrl === undefined ? {} : { proxy: proxyUrl }),
      });
      limit.progress();
      return new KubeExchange(response, limit);
    } catch (error) {
      const reason = limit.signal.aborted ? limit.signal.reason : error;
      limit[Symbol.dispose]();
      throw reason;
    }
  }

  private constructor(response: Response, limit: SilenceLimit) {
    this.response = response;
    this.#limit = limit;
  }

  /** The body in pieces. Throws as `start`. */
  async *pieces(): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    const { signal } = this.#limit;
    try {
      for await (const piece of this.response.body ?? []) {
        // The time that the consumer takes is not the server's.
        this.#limit.pause();
        yield piece;
        this.#limit.progress();
      }
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    }
    signal.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#limit[Symbol.dispose]();
  }
}

/** Aborts its signal when the server is silent, when another signal aborts, and when disposed. */
class SilenceLimit implements Disposable {
  readonly #controller = new AbortController();
  readonly #limits: ExchangeLimits;
  readonly #clock: Clock;
  readonly #outer: AbortSignal;
  readonly #startMs: number;
  readonly #onAbort: () => void;
  #expiry: Expiry | undefined;
  /** Runs until the expiry, or an earlier moment: a piece does not set it again. */
  #timer: Disposable | undefined;

  constructor({ limits, clock, signal }: {
    readonly limits: ExchangeLimits;
    readonly clock: Clock;
    readonly signal: AbortSignal;
  }) {
    this.#limits = limits;
    this.#clock = clock;
    this.#startMs = clock.nowMs();
    this.#outer = signal;
    this.#onAbort = () => this.#controller.abort(signal.reason);
    if (signal.aborted) this.#onAbort();
    else signal.addEventListener("abort", this.#onAbort, { once: true });
    this.#expiry = {
      atMs: this.#startMs + limits.responseMs,
      what: "no response within",
      limitMs: limits.responseMs,
      hint: limits.responseHint,
    };
    this.#wait(limits.responseMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  pause(): void {
    this.#expiry = undefined;
  }

  /** Something has arrived. */
  progress(): void {
    const { silenceMs, totalMs = Infinity } = this.#limits;
    const nowMs = this.#clock.nowMs();
    const endMs = this.#startMs + totalMs;
    this.#expiry = nowMs + silenceMs <= endMs
      ? { atMs: nowMs + silenceMs, what: "no data for", limitMs: silenceMs }
      : { atMs: endMs, what: "no complete response within", limitMs: totalMs };
    if (this.#timer === undefined) this.#wait(Math.max(this.#expiry.atMs - nowMs, 0));
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#outer.removeEventListener("abort", this.#onAbort);
    // Ends the connection if the body has not been read to its end.
    this.#controller.abort(new Error("the call has ended"));
  }

  #wait(delayMs: number): void {
    this.#timer = this.#clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      if (this.#expiry === undefined) return;
      const { atMs, what, limitMs, hint } = this.#expiry;
      const leftMs = atMs - this.#clock.nowMs();
      if (leftMs > 0) return this.#wait(leftMs);
      this.#controller.abort(
        new SilenceError(`${what} ${limitMs / 1000} s${hint === undefined ? "" : `; ${hint}`}`),
      );
    });
  }
}

interface Expiry {
  readonly atMs: number;
  readonly what: string;
  readonly limitMs: number;
  readonly hint?: string | undefined;
}
