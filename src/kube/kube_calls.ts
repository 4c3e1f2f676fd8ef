/**
 * Calls to the API server: one attempt each, its response decoded, its failure as `KubeError`.
 *
 * Only a 401 is repeated, once and at once, if there are other credentials by now: a token may have
 * expired in between.
 */

import { isDeepStrictEqual } from "node:util";

import type { Clock } from "../base/clock.ts";
import type { KubeAccess, KubeCredentials } from "./kube_access.ts";
import { KubeError } from "./kube_error.ts";
import { type ExchangeLimits, KubeExchange, type KubeHttpRequest } from "./kube_exchange.ts";
import {
  callError,
  connectionError,
  decodeStatus,
  type KubeCall,
  retryAfterMs,
  statusError,
} from "./kube_failure.ts";
import { MalformedObject } from "./malformed_object.ts";
import { WatchLineTooLong } from "./watch_lines.ts";

export interface KubeCallsOptions {
  readonly credentials: KubeCredentials;
  readonly clock: Clock;
  /** Such as `flanneld/v0.1.0+46666a2`. */
  readonly userAgent: string;
}

/** A request, and what it is about. */
export interface KubeRequest extends KubeCall {
  readonly method: "GET" | "PATCH";
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** The media type of the response; by default JSON. */
  readonly accept?: string;
  /** A strategic merge patch. */
  readonly patch?: unknown;
  readonly limits: ExchangeLimits;
}

export class KubeCalls implements Disposable {
  readonly #options: KubeCallsOptions;
  readonly #stop = new AbortController();

  constructor(options: KubeCallsOptions) {
    this.#options = options;
  }

  /** Its URL as it is known now. */
  get server(): string {
    return this.#options.credentials.server;
  }

  /** The decoded body of a response. Throws `KubeError`, or the reason of `signal`. */
  async read<T>(
    request: KubeRequest,
    decode: (value: unknown) => T,
    signal: AbortSignal,
  ): Promise<T> {
    using exchange = await this.open(request, signal);
    return await this.readJson(request, exchange, decode, signal);
  }

  /** As `read`, of a response that has begun. */
  async readJson<T>(
    request: KubeRequest,
    exchange: KubeExchange,
    decode: (value: unknown) => T,
    signal: AbortSignal,
  ): Promise<T> {
    let body: Blob;
    try {
      body = await readBody(exchange);
    } catch (cause) {
      throw this.failure(request, cause, signal);
    }
    // Parsed by the blob: neither a second copy of the bytes nor their text is made.
    const value: unknown = await body.json().catch(() => {
      throw this.protocolError(request, NOT_JSON);
    });
    return this.#decode(request, value, decode);
  }

  /** A response that is a success. Throws as `read`. */
  async open(request: KubeRequest, signal: AbortSignal): Promise<KubeExchange> {
    signal.throwIfAborted();
    const { credentials } = this.#options;
    const access = await credentials.current(signal);
    try {
      return await this.#attempt(request, access, signal);
    } catch (error) {
      if (!(error instanceof KubeError) || error.kind !== "unauthorized") throw error;
      const renewed = await credentials.renewed(access, signal);
      if (isDeepStrictEqual(renewed, access)) throw error;
      return await this.#attempt(request, renewed, signal);
    }
  }

  /** As `read`, of a text: one line of a watch. */
  decodeText<T>(request: KubeRequest, text: string, decode: (value: unknown) => T): T {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw this.protocolError(request, NOT_JSON);
    }
    return this.#decode(request, value, decode);
  }

  /** What a caller is given: the reason of its own signal, or a `KubeError`. */
  failure(request: KubeRequest, cause: unknown, signal: AbortSignal): unknown {
    if (signal.aborted) return signal.reason;
    if (cause instanceof KubeError) return cause;
    if (cause instanceof MalformedObject) return this.#malformed(request, cause);
    if (cause instanceof BodyTooLong || cause instanceof WatchLineTooLong) {
      return this.protocolError(request, cause.message, cause);
    }
    return connectionError(request, this.server, cause);
  }

  protocolError(request: KubeRequest, reason: string, cause?: unknown): KubeError {
    return callError(request, this.server, { kind: "protocol", reason, cause });
  }

  /** Cancels the calls that are running. */
  [Symbol.dispose](): void {
    this.#stop.abort(new Error("the client was closed"));
  }

  #decode<T>(request: KubeRequest, value: unknown, decode: (value: unknown) => T): T {
    try {
      return decode(value);
    } catch (cause) {
      if (!(cause instanceof MalformedObject)) throw cause;
      throw this.#malformed(request, cause);
    }
  }

  #malformed(request: KubeRequest, cause: MalformedObject): KubeError {
    return this.protocolError(request, `unexpected response: ${cause.message}`, cause);
  }

  async #attempt(
    request: KubeRequest,
    access: KubeAccess,
    signal: AbortSignal,
  ): Promise<KubeExchange> {
    const { clock, userAgent } = this.#options;
    const { limits } = request;
    const either = AbortSignal.any([signal, this.#stop.signal]);
    try {
      const http = httpRequest(request, { userAgent });
      const exchange = await KubeExchange.start(http, access, { limits, clock, signal: either });
      if (exchange.response.status === 200) return exchange;
      using failed = exchange;
      throw await this.#responseError(request, failed, access);
    } catch (cause) {
      throw this.failure(request, cause, signal);
    }
  }

  async #responseError(
    request: KubeRequest,
    exchange: KubeExchange,
    access: KubeAccess,
  ): Promise<KubeError> {
    const { status: code, headers } = exchange.response;
    const body = withoutSecret(await firstBytes(exchange), access);
    return statusError(request, this.server, {
      code,
      body,
      status: decodeStatus(jsonOrUndefined(body)),
      retryAfterMs: retryAfterMs(headers.get("Retry-After"), this.#options.clock.wallMs()),
    });
  }
}

/** A page of 500 nodes of 14 kB has 7 MB. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;

/** The parser's message may quote what the server sent. */
const NOT_JSON = "the response is not JSON";

class BodyTooLong extends Error {}

function httpRequest(
  { method, path, query, accept = "application/json", patch }: KubeRequest,
  { userAgent }: { readonly userAgent: string },
): KubeHttpRequest {
  const target = query === undefined ? path : `${path}?${new URLSearchParams(query)}`;
  const headers = { Accept: accept, "User-Agent": userAgent };
  if (patch === undefined) return { method, path: target, headers };
  return {
    method,
    path: target,
    body: JSON.stringify(patch),
    headers: { ...headers, "Content-Type": "application/strategic-merge-patch+json" },
  };
}

async function readBody(exchange: KubeExchange): Promise<Blob> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for await (const piece of exchange.pieces()) {
    bytes += piece.length;
    if (bytes > MAX_BODY_BYTES) {
      throw new BodyTooLong(`the response has more than ${MAX_BODY_BYTES} bytes`);
    }
    pieces.push(piece);
  }
  return new Blob(pieces);
}

/** As much of the body as an error needs; what has arrived, if the connection fails. */
async function firstBytes(exchange: KubeExchange): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const piece of exchange.pieces()) {
      pieces.push(piece);
      bytes += piece.length;
      if (bytes >= MAX_ERROR_BYTES) break;
    }
  } catch {
    // The status alone is an error as well.
  }
  return Buffer.concat(pieces).toString("utf8", 0, MAX_ERROR_BYTES);
}

/** A proxy's error page may repeat the request's headers. */
function withoutSecret(text: string, { authorization = "" }: KubeAccess): string {
  const secret = authorization.slice(authorization.indexOf(" ") + 1);
  return secret === "" ? text : text.replaceAll(secret, "…");
}

function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
