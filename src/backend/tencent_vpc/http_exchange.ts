/** Short HTTP exchanges with a limit for time and for size. */

/** It did not come to an answer. The message names the server. */
export class HttpError extends Error {
  override readonly name = "HttpError";
}

export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
}

const TIMEOUT_MS = 10_000;
/** A reply with 100 route tables has about 5 MB. */
const MAX_BYTES = 16 * 1024 * 1024;

/** Throws `HttpError`, or the reason of `signal`. */
export async function exchange(
  url: URL,
  request: { method: string; headers?: Record<string, string>; body?: string },
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    const response = await fetch(url, {
      ...request,
      redirect: "error",
      signal: limit,
      // Explicitly: NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment changes the default.
      tls: { rejectUnauthorized: true },
    });
    return { status: response.status, text: await readText(response) };
  } catch (cause) {
    signal.throwIfAborted();
    const reason = limit.aborted ? `no answer within ${TIMEOUT_MS / 1000} s` : reasonOf(cause);
    throw new HttpError(`cannot reach ${url.origin}: ${reason}`, { cause });
  }
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) throw new Error(`the answer has more than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
