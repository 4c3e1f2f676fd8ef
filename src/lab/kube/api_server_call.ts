/** Calls to an API server through a Unix socket, which leads into its network namespace. */

import { errorMessage } from "../../base/operator_error.ts";

export interface ApiServerAccess {
  /** Its host is the one that the server's certificate names. */
  readonly url: string;
  /** Path of the Unix socket. */
  readonly socket: string;
  /** PEM. */
  readonly tls: { readonly ca: string; readonly cert?: string; readonly key?: string };
  /** Instead of a client certificate. */
  readonly token?: string;
  readonly signal?: AbortSignal;
}

export interface ApiServerCall {
  readonly method: string;
  readonly path: string;
  readonly body?: object | undefined;
  /** Of the body. */
  readonly contentType?: string | undefined;
  readonly timeoutMs?: number;
}

const CALL_TIMEOUT_MS = 30_000;

/**
 * Returns the object of the response, or its text if it is not JSON. Throws with the call and the
 * server's message unless it succeeds, and the reason of `signal`.
 */
export async function callApiServer(
  { url, socket, tls, token, signal }: ApiServerAccess,
  { method, path, body, contentType = "application/json", timeoutMs = CALL_TIMEOUT_MS }:
    ApiServerCall,
): Promise<unknown> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(`${url}${path}`, {
      method,
      unix: socket,
      tls,
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { "content-type": contentType }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (response.ok) return text.startsWith("{") ? JSON.parse(text) : text;
    throw new Error(`${response.status} ${text.trim()}`);
  } catch (cause) {
    signal?.throwIfAborted();
    const reason = timeout.aborted
      ? `no complete response within ${timeoutMs / 1000} s`
      : errorMessage(cause);
    throw new Error(`cannot call the API server: ${method} ${path}: ${reason}`, { cause });
  }
}

/**
 * Whether a user may do this with nodes. The authorizer learns of a role shortly after it has been
 * created. `post` calls the API server as an administrator.
 */
export async function mayUseNodes(
  { user, verb }: { readonly user: string; readonly verb: string },
  post: (path: string, body: object) => Promise<unknown>,
): Promise<boolean> {
  const review = await post("/apis/authorization.k8s.io/v1/subjectaccessreviews", {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SubjectAccessReview",
    spec: { user, resourceAttributes: { resource: "nodes", verb } },
  }) as { readonly status: { readonly allowed: boolean } };
  return review.status.allowed;
}
