/** HTTP requests with a limit of time, and of the size of the response. */

import type { Clock } from "../../base/clock.ts";
import { errorMessage, OperatorError } from "../../base/operator_error.ts";

/** There is no response, or an unusable one. */
export class HttpError extends OperatorError {
  override readonly name = "HttpError";
  /** Of the response; `undefined` if there is none, or one without the expected content. */
  readonly status: number | undefined;

  constructor(message: string, options: ErrorOptions & { readonly status?: number } = {}) {
    super(message, options);
    this.status = options.status;
  }
}

export interface HttpResponse {
  readonly status: number;
  readonly text: string;
}

export interface ExchangeContext {
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const TIMEOUT_MS = 10_000;
/** A response with 100 route tables has about 5 MB. */
const MAX_BYTES = 16 * 1024 * 1024;

/** Throws `HttpError`, or the reason of `signal`. */
export async function exchange(
  url: URL,
  request: { method: string; headers?: Record<string, string>; body?: string },
  { clock, signal }: ExchangeContext,
): Promise<HttpResponse> {
  const timeout = new AbortController();
  using _timer = clock.setTimer(TIMEOUT_MS, () => timeout.abort());
  try {
    const response = await fetch(url, {
      ...request,
      redirect: "error",
      signal: AbortSignal.any([signal, timeout.signal]),
      // Explicit, because NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment changes the default.
      tls: { rejectUnauthorized: true },
    });
    return { status: response.status, text: await readText(response) };
  } catch (cause) {
    signal.throwIfAborted();
    const reason = timeout.signal.aborted
      ? `no response within ${TIMEOUT_MS / 1000} s`
      : errorMessage(cause);
    throw new HttpError(`cannot reach ${url.origin}: ${reason}`, { cause });
  }
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) throw new Error(`the response has more than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
