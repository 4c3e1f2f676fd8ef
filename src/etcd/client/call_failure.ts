/**
 * What the transport threw, as fields.
 *
 * This is the only place that reads the texts of errors. The transport reports some failures as
 * text only, and several errors of etcd differ in their description alone, as etcd's own
 * client does (`rpctypes.Error` in etcd's api/v3rpc/rpctypes).
 */

import { errorMessage } from "../../base/operator_error.ts";
import { Code, GrpcError } from "./grpc_error.ts";

export type FailureKind =
  /** No member was reached: nothing was done. */
  | "unsent"
  /** A member cannot serve it at the moment, and did nothing. */
  | "busy"
  /** The auth token is not, or no longer, valid: nothing was done. */
  | "token"
  /** The request was sent and the response is missing: it may have been carried out. */
  | "interrupted"
  /** A member refused it, and would refuse it again. */
  | "refused";

/** What was seen instead of a response of etcd. */
export type Symptom =
  /** Also of an unreachable host: the runtime reports both with ECONNREFUSED. */
  | "refused"
  | "timed out"
  /** No connection could be set up in time. */
  | "no connection"
  | "no route"
  | "network unreachable"
  | "closed"
  | "reset"
  | "closed in handshake"
  /** The server responds, but not in TLS. */
  | "no TLS"
  /** A response in HTTP, but not of a gRPC server. */
  | "no gRPC"
  | "no HTTP/2";

export interface CallFailure {
  readonly kind: FailureKind;
  /** In words, with what to do where that is known; without the operation and the endpoint. */
  readonly reason: string;
  /** gRPC status of a response; `undefined` without a response of a gRPC server. */
  readonly code?: Code | undefined;
  readonly symptom?: Symptom | undefined;
}

export const NO_CONNECTION = "no connection in time";
export const NO_ROUTE = "no route to host";

/** Reads whatever the transport threw; `kind` where the caller knows better. */
export function readFailure(
  thrown: unknown,
  known: { readonly kind?: FailureKind | undefined; readonly endpoint: string },
): CallFailure {
  const kind = known.kind ?? failureKind(thrown);
  const failure = { ...describe(thrown), kind };
  // A server without TLS responds in plain text and closes the connection, or resets it.
  const wasInHandshake = kind === "unsent" && known.endpoint.startsWith("https:");
  return wasInHandshake && failure.symptom === "reset" ? { ...CLOSED_IN_HANDSHAKE, kind } : failure;
}

/** The status of a reason that etcd gave as text only, as when it ends a watch. */
export function codeOfText(text: string): Code {
  return text.includes("permission denied") ? Code.PermissionDenied : Code.Unavailable;
}

/** etcd refuses to authenticate a user because authentication is disabled. */
export function isAuthenticationDisabled(thrown: unknown): boolean {
  return thrown instanceof GrpcError && thrown.code === Code.FailedPrecondition &&
    thrown.message.includes("authentication is not enabled");
}

/** etcd refuses a name or a password. */
export function isAuthenticationFailed(thrown: unknown): boolean {
  return thrown instanceof GrpcError && thrown.code === Code.InvalidArgument &&
    thrown.message.includes("invalid user ID or password");
}

type Description = Omit<CallFailure, "kind">;

/** The server is closing the connection (RFC 9113 6.8), or has closed it: no stream was opened. */
const NO_NEW_STREAM: ReadonlySet<string> = new Set([
  "ERR_HTTP2_GOAWAY_SESSION",
  "ERR_HTTP2_INVALID_SESSION",
]);

/** Responses before anything was proposed to the cluster (etcd's api/v3rpc/rpctypes). */
const BUSY = ["etcdserver: no leader", "etcdserver: too many requests", "etcdserver: not capable"];

/**
 * The token is missing, expired, unknown to a restarted member, or older than a change of users.
 */
const TOKEN = [
  "etcdserver: invalid auth token",
  "etcdserver: user name is empty",
  "etcdserver: revision of auth store is old",
];

const REFUSALS: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.AlreadyExists,
  Code.PermissionDenied,
  Code.FailedPrecondition,
  Code.OutOfRange,
  Code.Unimplemented,
  Code.ResourceExhausted,
  Code.Unauthenticated,
]);

function failureKind(thrown: unknown): FailureKind {
  const codes = causeChain(thrown).map(({ code }) => code);
  if (codes.some((code) => NO_NEW_STREAM.has(code))) return "unsent";
  if (codes.some(isTlsAlert)) return "unsent";
  if (!(thrown instanceof GrpcError)) return "interrupted";
  const text = thrown.message;
  if (BUSY.some((status) => text.includes(status))) return "busy";
  if (TOKEN.some((status) => text.includes(status))) return "token";
  return REFUSALS.has(thrown.code) && !isLocal(thrown) ? "refused" : "interrupted";
}

/** A stream that ends in the middle is reported with codes that servers use for refusals. */
function isLocal({ message }: GrpcError): boolean {
  return message.startsWith("protocol error") || message.startsWith("http/2 ");
}

function describe(thrown: unknown): Description {
  for (const { code, message } of causeChain(thrown)) {
    if (NO_NEW_STREAM.has(code)) return CLOSED;
    const known = tlsFailure(code, message) ?? SYSTEM_FAILURES[code];
    if (known !== undefined) return known;
  }
  if (!(thrown instanceof GrpcError)) {
    const reason = errorMessage(thrown);
    return { reason, symptom: otherProgram(reason) };
  }
  const { code, message } = thrown;
  if (code === Code.DeadlineExceeded) return { reason: "no response in time", code };
  if (message.startsWith("http/2 stream closed")) {
    return CLOSED;
  }
  const text = message.replace(/^etcdserver: /, "");
  const hint = HINTS.find(([status]) => message.includes(status))?.[1];
  const symptom = otherProgram(message);
  const reason = hint === undefined ? text : `${text}: ${hint}`;
  return symptom === undefined && !isLocal(thrown) ? { reason, code } : { reason, symptom };
}

/** A server that is not etcd, as the transport describes it. */
function otherProgram(text: string): Symptom | undefined {
  if (/^HTTP \d+$|^unsupported content.type/.test(text)) return "no gRPC";
  return /^protocol error|^h2 is not supported|^HTTP \d|^(unsupported|unexpected) content.type/i
      .test(text)
    ? "no HTTP/2"
    : undefined;
}

const HINTS: readonly (readonly [status: string, hint: string])[] = [
  ["user name is empty", "this etcd requires a user, set --etcd-username and --etcd-password"],
  [
    "invalid user ID or password",
    "check --etcd-username and --etcd-password; a node that has joined by --join was removed, " +
    "and has to join again with a valid token",
  ],
  [
    "permission denied",
    "grant the user a role with readwrite on the keys under --etcd-prefix " +
    "(etcdctl role grant-permission)",
  ],
  ["database space exceeded", "compact and defragment etcd, then disarm its NOSPACE alarm"],
];

const SYSTEM_FAILURES: Readonly<Record<string, Description>> = {
  ECONNREFUSED: { reason: "connection refused", symptom: "refused" },
  ECONNRESET: { reason: "connection reset", symptom: "reset" },
  ETIMEDOUT: { reason: "connection timed out", symptom: "timed out" },
  EHOSTUNREACH: { reason: NO_ROUTE, symptom: "no route" },
  ENETUNREACH: { reason: "network unreachable", symptom: "network unreachable" },
  ENOTFOUND: { reason: "unknown host name" },
  EAI_AGAIN: { reason: "the host name cannot be resolved at the moment" },
};

const CLOSED: Description = { reason: "connection closed", symptom: "closed" };

const CLOSED_IN_HANDSHAKE: Description = {
  reason: "the connection was closed during the TLS handshake: does etcd serve plain http there?",
  symptom: "closed in handshake",
};

const NO_TLS: Description = {
  reason: "the server responds, but not in TLS: does etcd serve plain http there?",
  symptom: "no TLS",
};

function tlsFailure(code: string, message: string): Description | undefined {
  if (isTlsAlert(code)) {
    return {
      reason: "the server refused our TLS certificate, check --etcd-certfile and --etcd-keyfile " +
        `(${code})`,
    };
  }
  if (message.includes("before secure TLS connection")) return CLOSED_IN_HANDSHAKE;
  if (`${code} ${message}`.includes("WRONG_VERSION_NUMBER")) return NO_TLS;
  if (UNTRUSTED.has(code)) {
    return {
      reason:
        `the server's certificate is not trusted, check --etcd-cafile (${code}); if this node ` +
        "has joined by --join, its datastore was set up again: join it again",
    };
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return {
      reason: `the server's certificate is for another name: ${message}; for flanneld datastore, ` +
        "add this one to its --advertise",
    };
  }
  if (code === "CERT_HAS_EXPIRED") {
    return { reason: `the server's certificate has expired${CHECK_CLOCK}` };
  }
  if (code === "CERT_NOT_YET_VALID") {
    return { reason: `the server's certificate is not valid yet${CHECK_CLOCK}` };
  }
  return undefined;
}

const CHECK_CLOCK = "; check the clocks of this host and of the server (timedatectl)";

/** The server ended the TLS handshake over the client's certificate, or over its absence. */
function isTlsAlert(code: string): boolean {
  return /^ERR_SSL_.*ALERT.*(CERT|CA$|HANDSHAKE_FAILURE|ACCESS_DENIED)/.test(code);
}

const UNTRUSTED: ReadonlySet<string> = new Set([
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "CERT_SIGNATURE_FAILURE",
]);

/** The error codes of the system and of TLS, from the outermost error to its root. */
function causeChain(thrown: unknown): { code: string; message: string }[] {
  const chain = new Set<Error>();
  for (let error = thrown; error instanceof Error && !chain.has(error); error = error.cause) {
    chain.add(error);
  }
  return [...chain].flatMap((error) =>
    "code" in error && typeof error.code === "string"
      ? [{ code: error.code, message: error.message }]
      : []
  );
}
