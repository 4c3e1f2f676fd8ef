/** What went wrong between us and etcd, and what it means for a retry. */

import { Code, ConnectError } from "@connectrpc/connect";
import { StoreError } from "../../subnet/lease_store.ts";
import type { EtcdEndpoint } from "./endpoint.ts";

export type FailureKind =
  /** No member was reached: nothing was done. */
  | "unsent"
  /** A member cannot do it at the moment, and did nothing. */
  | "busy"
  /** The auth token is not, or no longer, valid: nothing was done. */
  | "token"
  /** The request was sent and its answer is missing: it may have been carried out. */
  | "interrupted"
  /** A member refused it, and would again. */
  | "refused";

export class EtcdError extends StoreError {
  override readonly name = "EtcdError";
  readonly kind: FailureKind;
  /** The bare reason, without the operation and the endpoint. */
  readonly reason: string;

  constructor(text: string, options: { kind: FailureKind; reason: string; cause: unknown }) {
    super(text, { cause: options.cause });
    this.kind = options.kind;
    this.reason = options.reason;
  }

  /** The change was sent and the answer is missing: read before doing it again. */
  get mayHaveBeenApplied(): boolean {
    return this.kind === "interrupted";
  }

  /** From whatever the transport threw; `kind` where the caller knows better. */
  static from(
    thrown: unknown,
    known: { readonly kind?: FailureKind; readonly endpoint: EtcdEndpoint },
  ): EtcdError {
    if (thrown instanceof EtcdError) return thrown;
    const kind = known.kind ?? failureKind(thrown);
    let reason = failureReason(thrown);
    // A server that does not know TLS answers the handshake in clear and closes, or resets.
    const wasInHandshake = kind === "unsent" && known.endpoint.url.startsWith("https:");
    if (wasInHandshake && reason === SYSTEM_REASONS["ECONNRESET"]) reason = HANDSHAKE_CLOSED;
    // The transport repeats the text of the error with which we closed the connection.
    const where = ` (${known.endpoint.url})`;
    if (reason.endsWith(where)) reason = reason.slice(0, -where.length);
    return new EtcdError(`${reason}${where}`, { kind, reason, cause: thrown });
  }

  /** From a reason that etcd gave in words only. */
  static fromText(text: string, { endpoint }: { readonly endpoint: EtcdEndpoint }): EtcdError {
    const code = text.includes("permission denied") ? Code.PermissionDenied : Code.Unavailable;
    return EtcdError.from(new ConnectError(text, code), { endpoint });
  }

  /** The same failure with another reason. */
  because(reason: string): EtcdError {
    const text = this.message.replace(this.reason, () => reason);
    return new EtcdError(text, { kind: this.kind, reason, cause: this.cause });
  }

  /** The same failure with another meaning for a retry. */
  as(kind: FailureKind): EtcdError {
    return new EtcdError(this.message, { kind, reason: this.reason, cause: this.cause });
  }

  /** The same failure, told as the failure of an operation, such as "read /coreos.com/network". */
  during({ operation, repeatable }: { operation: string; repeatable: boolean }): EtcdError {
    const doubt = this.mayHaveBeenApplied && !repeatable
      ? "; it may have been done all the same"
      : "";
    const text = `cannot ${operation} in etcd: ${this.message}${doubt}`;
    return new EtcdError(text, { kind: this.kind, reason: this.reason, cause: this.cause });
  }
}

/** A refusal that no retry by itself will change: the operator has to do something. */
export function needsOperator(error: unknown): boolean {
  return error instanceof EtcdError && (error.kind === "refused" || error.kind === "token");
}

/** No server was reached, so that the attempt cost none any work. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof EtcdError &&
    UNREACHABLE.some((reason) => error.reason.startsWith(reason));
}

/** Something other than etcd answers, or closes the connection. */
export function isNotEtcd({ reason, cause }: EtcdError): boolean {
  if (reason === HANDSHAKE_CLOSED || reason === NOT_TLS) return true;
  if (reason === "connection closed" || reason === SYSTEM_REASONS["ECONNRESET"]) return true;
  const text = cause instanceof ConnectError ? cause.rawMessage : reason;
  return /^protocol error|^h2 is not supported|^HTTP \d|^(unsupported|unexpected) content.type/i
    .test(text);
}

/** Answers before anything was proposed to the cluster (etcd's api/v3rpc/rpctypes). */
const BUSY = ["etcdserver: no leader", "etcdserver: too many requests", "etcdserver: not capable"];

/** The token is missing, expired, unknown to a restarted member, or older than a change of users. */
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
  if (!(thrown instanceof ConnectError)) return "interrupted";
  const text = thrown.rawMessage;
  if (causeChain(thrown).some(({ code }) => isTlsAlert(code))) return "unsent";
  if (BUSY.some((answer) => text.includes(answer))) return "busy";
  if (TOKEN.some((answer) => text.includes(answer))) return "token";
  // A stream that ends in the middle is reported with codes that servers use for refusals.
  const isLocal = text.startsWith("protocol error") || text.startsWith("http/2 ");
  return REFUSALS.has(thrown.code) && !isLocal ? "refused" : "interrupted";
}

/** The reason in words, with what to do where that is known. */
function failureReason(thrown: unknown): string {
  for (const { code, message } of causeChain(thrown)) {
    const words = tlsReason(code, message) ?? SYSTEM_REASONS[code];
    if (words !== undefined) return words;
  }
  if (!(thrown instanceof ConnectError)) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  }
  if (thrown.code === Code.DeadlineExceeded) return "no answer in time";
  if (thrown.rawMessage.startsWith("http/2 stream closed")) return "connection closed";
  const text = thrown.rawMessage.replace(/^etcdserver: /, "");
  const hint = HINTS.find(([answer]) => thrown.rawMessage.includes(answer))?.[1];
  return hint === undefined ? text : `${text}: ${hint}`;
}

const HINTS: readonly (readonly [answer: string, hint: string])[] = [
  ["user name is empty", "this etcd wants a user, set --etcd-username and --etcd-password"],
  ["invalid user ID or password", "check --etcd-username and --etcd-password"],
  [
    "permission denied",
    "grant the user a role with readwrite on the keys under --etcd-prefix (etcdctl role grant-permission)",
  ],
  ["database space exceeded", "compact and defragment etcd, then disarm its NOSPACE alarm"],
];

/** The runtime reports an unreachable host with ECONNREFUSED too. */
export const CONNECTION_REFUSED = "connection refused";

export const NO_ROUTE = "no route to host";

const SYSTEM_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: CONNECTION_REFUSED,
  ECONNRESET: "connection reset",
  ETIMEDOUT: "connection timed out",
  EHOSTUNREACH: NO_ROUTE,
  ENETUNREACH: "network unreachable",
  ENOTFOUND: "unknown host name",
  EAI_AGAIN: "host name cannot be resolved at the moment",
};

export const NO_CONNECTION = "no connection in time";

/** Reasons begin with these texts; hints may follow. */
const UNREACHABLE: readonly string[] = [
  NO_CONNECTION,
  ...["ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"].map((code) =>
    SYSTEM_REASONS[code] as string
  ),
];

const HANDSHAKE_CLOSED =
  "the connection was closed during the TLS handshake: does etcd serve plain http there?";

const NOT_TLS = "the server answers, but not in TLS: does etcd serve plain http there?";

function tlsReason(code: string, message: string): string | undefined {
  if (isTlsAlert(code)) {
    return `the server refused our TLS certificate, check --etcd-certfile and --etcd-keyfile (${code})`;
  }
  if (message.includes("before secure TLS connection")) {
    return HANDSHAKE_CLOSED;
  }
  if (`${code} ${message}`.includes("WRONG_VERSION_NUMBER")) {
    return NOT_TLS;
  }
  if (UNTRUSTED.has(code)) {
    return `the server's certificate is not trusted, check --etcd-cafile (${code})`;
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return `the server's certificate is for another name: ${message}`;
  }
  if (code === "CERT_HAS_EXPIRED") return "the server's certificate has expired";
  if (code === "CERT_NOT_YET_VALID") return "the server's certificate is not valid yet";
  return undefined;
}

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
