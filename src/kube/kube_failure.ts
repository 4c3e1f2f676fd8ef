/** Error responses of the API server, and failed connections, as `KubeError`. */

import { errorMessage, OperatorError } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import { KubeError, type KubeFailure } from "./kube_error.ts";

/** What a call is about, for messages. */
export interface KubeCall {
  /** In words, such as `list nodes`. */
  readonly what: string;
  /** Such as `GET /api/v1/nodes`. */
  readonly call: string;
  /** What permits the call in a ClusterRole. */
  readonly rule: KubeRule;
}

export interface KubeRule {
  readonly resource: string;
  readonly verb: string;
}

/** The members of the API's Status that matter; all of them may be missing. */
export interface KubeStatus {
  readonly isStatus: boolean;
  readonly code: number | undefined;
  readonly reason: string;
  readonly message: string;
  readonly retryAfterSeconds: number | undefined;
}

export function decodeStatus(value: unknown): KubeStatus {
  const status = (typeof value === "object" && value !== null ? value : {}) as {
    readonly [member: string]: unknown;
  };
  const details = (status["details"] ?? {}) as { readonly retryAfterSeconds?: unknown };
  return {
    isStatus: status["kind"] === "Status",
    code: typeof status["code"] === "number" ? status["code"] : undefined,
    reason: typeof status["reason"] === "string" ? printableLine(status["reason"], 100) : "",
    message: typeof status["message"] === "string" ? status["message"] : "",
    retryAfterSeconds: typeof details.retryAfterSeconds === "number"
      ? details.retryAfterSeconds
      : undefined,
  };
}

/** The error for a response that is not a success, or for an event of type ERROR. */
export function statusError(
  { what, call, rule }: KubeCall,
  server: string,
  response: {
    readonly code: number;
    readonly status: KubeStatus;
    /** From the header Retry-After. */
    readonly retryAfterMs: number | undefined;
    /** The first bytes of a body that is not a Status. */
    readonly body?: string;
  },
): KubeError {
  const { code, status, body = "" } = response;
  const retryAfterMs = boundedDelay(response.retryAfterMs ?? secondsToMs(status.retryAfterSeconds));
  const kind = failureKind(code, { ...status, hasRetryAfter: retryAfterMs !== undefined });
  const said = printableLine((status.message || body).trim(), MAX_SERVER_TEXT);
  const head = `${code} ${status.reason || (STATUS_TEXTS[code] ?? "")}`.trim();
  const parts = [`cannot ${what} (${call} at ${server}): ${head}`, said].filter(Boolean);
  const hint = hintFor(kind, rule, { retryAfterMs });
  return new KubeError(parts.join(": ") + hint, {
    kind,
    call,
    status: code,
    retryAfterMs,
    reason: status.reason || undefined,
  });
}

/** The error for a call without a complete response. */
export function connectionError(call: KubeCall, server: string, cause: unknown): KubeError {
  return callError(call, server, { kind: "unreachable", reason: connectionReason(cause), cause });
}

/** An error whose reason does not come from the server's Status. */
export function callError(
  { what, call }: KubeCall,
  server: string,
  failure: { readonly kind: KubeFailure; readonly reason: string; readonly cause?: unknown },
): KubeError {
  return new KubeError(`cannot ${what} (${call} at ${server}): ${failure.reason}`, {
    kind: failure.kind,
    call,
    cause: failure.cause,
  });
}

/** The header Retry-After in milliseconds: seconds or a date (RFC 9110, section 10.2.3). */
export function retryAfterMs(header: string | null, nowMs: number): number | undefined {
  if (header === null) return undefined;
  if (/^\d+$/.test(header)) return Number(header) * 1000;
  const atMs = Date.parse(header);
  return Number.isFinite(atMs) ? Math.max(0, atMs - nowMs) : undefined;
}

function failureKind(
  code: number,
  context: { readonly isStatus: boolean; readonly hasRetryAfter: boolean },
): KubeFailure {
  switch (code) {
    case 401:
      return "unauthorized";
    case 403:
      return "forbidden";
    case 404:
      // Only an API server can say that a node does not exist; a proxy's 404 is another failure.
      return context.isStatus ? "not-found" : "server";
    case 409:
      return "conflict";
    case 410:
      return "expired";
    case 422:
      return "invalid";
    case 429:
      return "throttled";
    case 503:
      return context.hasRetryAfter ? "throttled" : "server";
    default:
      return "server";
  }
}

function hintFor(
  kind: KubeFailure,
  { resource, verb }: KubeRule,
  { retryAfterMs }: { readonly retryAfterMs: number | undefined },
): string {
  switch (kind) {
    case "unauthorized":
      return "; check the token or client certificate, and that they belong to this cluster";
    case "forbidden":
      return `; add to the ClusterRole: - {apiGroups: [""], resources: [${resource}], ` +
        `verbs: [${verb}]}`;
    case "throttled":
      return retryAfterMs === undefined ? "" : `; the server asks to wait ${retryAfterMs / 1000} s`;
    default:
      return "";
  }
}

function secondsToMs(seconds: number | undefined): number | undefined {
  return seconds === undefined || !(seconds > 0) ? undefined : seconds * 1000;
}

function boundedDelay(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.min(ms, MAX_RETRY_AFTER_MS);
}

/** A server that is overloaded asks for seconds. */
const MAX_RETRY_AFTER_MS = 600_000;
/** The message of a 403 names the account, the resource and what RBAC could not resolve. */
const MAX_SERVER_TEXT = 500;

const STATUS_TEXTS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  410: "Gone",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

function connectionReason(cause: unknown): string {
  if (cause instanceof OperatorError) return cause.message;
  const { code } = (cause ?? {}) as { readonly code?: unknown };
  const known = typeof code === "string" ? REASONS[code] : undefined;
  if (known !== undefined) return `${known} (${code})`;
  const [text = ""] = errorMessage(cause).split(" For more information, pass", 1);
  return printableLine(text, MAX_SERVER_TEXT);
}

const UNKNOWN_CA = "the server's certificate is not signed by a trusted CA; check " +
  "certificate-authority in the kubeconfig, or ca.crt of the service account";

/** By the `code` of errors that `fetch` throws. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "the server closed the connection",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "network is unreachable",
  ENOTFOUND: "the server's name cannot be resolved",
  ETIMEDOUT: "connection timed out",
  CERT_HAS_EXPIRED: "the server's certificate has expired",
  CERT_NOT_YET_VALID: "the server's certificate is not valid yet; check the clock of this node",
  CERT_SIGNATURE_FAILURE: UNKNOWN_CA,
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_CA,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_CA,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_CA,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_CA,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_CA,
  ERR_TLS_CERT_ALTNAME_INVALID:
    "the server's certificate is for another name; use a name or address that it contains, or " +
    "set tls-server-name in the kubeconfig",
};
