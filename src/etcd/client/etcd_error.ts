/** A call to etcd that failed: the status, what was called, and what it means for a retry. */

import { OperatorError } from "../../base/operator_error.ts";
import {
  type CallFailure,
  codeOfText,
  type FailureKind,
  isAuthenticationFailed,
  readFailure,
  type Symptom,
} from "./call_failure.ts";
import type { EtcdEndpoint } from "./endpoint.ts";
import { Code, GrpcError } from "./grpc_error.ts";

/** What was called, for errors. */
export interface CallDescription {
  /** For messages, after "cannot": "read /coreos.com/network/config". */
  readonly operation: string;
  /** Such as `etcdserverpb.KV/Range`. */
  readonly method?: string | undefined;
  /** The key, or the first of several. */
  readonly key?: string | undefined;
  /**
   * Calling it twice has the same effect as calling it once, so it may be repeated when in doubt.
   */
  readonly repeatable: boolean;
}

export interface EtcdErrorFields extends CallFailure {
  /** URL of the member. */
  readonly endpoint?: string | undefined;
  readonly method?: string | undefined;
  readonly key?: string | undefined;
  readonly cause?: unknown;
}

export class EtcdError extends OperatorError implements CallFailure {
  override readonly name = "EtcdError";
  readonly kind: FailureKind;
  readonly reason: string;
  readonly code: Code | undefined;
  readonly symptom: Symptom | undefined;
  readonly endpoint: string | undefined;
  readonly method: string | undefined;
  readonly key: string | undefined;

  constructor(text: string, fields: EtcdErrorFields) {
    super(text, { cause: fields.cause });
    this.kind = fields.kind;
    this.reason = fields.reason;
    this.code = fields.code;
    this.symptom = fields.symptom;
    this.endpoint = fields.endpoint;
    this.method = fields.method;
    this.key = fields.key;
  }

  /** The request was sent but the response is missing: read before sending it again. */
  get mayHaveBeenApplied(): boolean {
    return this.kind === "interrupted";
  }

  /** From whatever the transport threw; `kind` where the caller knows better. */
  static from(
    thrown: unknown,
    known: { readonly kind?: FailureKind; readonly endpoint: EtcdEndpoint },
  ): EtcdError {
    if (thrown instanceof EtcdError) return thrown;
    const endpoint = known.endpoint.url;
    const failure = readFailure(thrown, { kind: known.kind, endpoint });
    return new EtcdError(`${failure.reason} (${endpoint})`, {
      ...failure,
      endpoint,
      cause: thrown,
    });
  }

  /** From a reason that etcd gave as text only. */
  static fromText(text: string, { endpoint }: { readonly endpoint: EtcdEndpoint }): EtcdError {
    return EtcdError.from(new GrpcError(text, codeOfText(text)), { endpoint });
  }

  /** The same failure with another reason. */
  because(reason: string, symptom = this.symptom): EtcdError {
    return this.#copy(this.message.replace(this.reason, () => reason), { reason, symptom });
  }

  /** The same failure with another meaning for a retry. */
  as(kind: FailureKind): EtcdError {
    return this.#copy(this.message, { kind });
  }

  /** The same failure as the failure of a call. */
  during({ operation, method, key, repeatable }: CallDescription): EtcdError {
    const doubt = this.mayHaveBeenApplied && !repeatable ? "; it may have been carried out" : "";
    return this.#copy(`cannot ${operation} in etcd: ${this.message}${doubt}`, { method, key });
  }

  #copy(text: string, changes: Partial<EtcdErrorFields>): EtcdError {
    const { kind, reason, code, symptom, endpoint, method, key, cause } = this;
    const fields = { kind, reason, code, symptom, endpoint, method, key, cause };
    return new EtcdError(text, { ...fields, ...changes });
  }
}

/** A refusal that no retry will change: the operator has to act. */
export function needsOperator(error: unknown): boolean {
  return error instanceof EtcdError && (error.kind === "refused" || error.kind === "token");
}

/** etcd's user may not read or write the key. */
export function isPermissionDenied(error: unknown): boolean {
  return error instanceof EtcdError && error.code === Code.PermissionDenied;
}

/** etcd does not know the user, or the password is wrong. */
export function isWrongPassword(error: unknown): boolean {
  return error instanceof EtcdError && isAuthenticationFailed(error.cause);
}

/**
 * The etcd lease has expired or was revoked; nothing else that this client calls can be missing.
 */
export function isLeaseNotFound(error: unknown): boolean {
  return error instanceof EtcdError && error.code === Code.NotFound;
}

/** The revision that was asked for is compacted, or still in the future. */
export function isOutOfHistory(error: unknown): boolean {
  return error instanceof EtcdError && error.code === Code.OutOfRange;
}

/** No server was reached, so the attempt caused no load. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof EtcdError && UNREACHABLE.has(error.symptom);
}

/** A program other than etcd responds, or closes the connection. */
export function isNotEtcd({ symptom }: EtcdError): boolean {
  return NOT_ETCD.has(symptom);
}

const UNREACHABLE: ReadonlySet<Symptom | undefined> = new Set<Symptom>([
  "refused",
  "timed out",
  "no connection",
  "no route",
  "network unreachable",
]);

const NOT_ETCD: ReadonlySet<Symptom | undefined> = new Set<Symptom>([
  "closed",
  "reset",
  "closed in handshake",
  "no TLS",
  "no gRPC",
  "no HTTP/2",
]);
