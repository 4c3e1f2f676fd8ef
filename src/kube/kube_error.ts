/** A call to the Kubernetes API that failed: what was called, the status, the server's reason. */

import { OperatorError } from "../base/operator_error.ts";

export type KubeFailure =
  /** No connection, or no complete response in time. */
  | "unreachable"
  /** 401: the credentials are missing, wrong or expired. */
  | "unauthorized"
  /** 403: the credentials do not permit the call. */
  | "forbidden"
  /** 404 */
  | "not-found"
  /** 409 */
  | "conflict"
  /** 410: the resource version is too old for a list or watch to continue. */
  | "expired"
  /** 422: the server refuses the content, for example for another uid. */
  | "invalid"
  /** 429, or 503 with Retry-After. */
  | "throttled"
  /** Another status of the server, mostly 5xx. */
  | "server"
  /** A response that is not what the API promises. */
  | "protocol"
  /** The kubeconfig, the token or a certificate cannot be read. */
  | "credentials";

export interface KubeErrorFields {
  readonly kind: KubeFailure;
  /** Such as `PATCH /api/v1/nodes/n1/status`. */
  readonly call?: string | undefined;
  /** The HTTP status, if there was a response. */
  readonly status?: number | undefined;
  /** The member `reason` of the server's Status, such as `NotFound`. */
  readonly reason?: string | undefined;
  /** How long the server asks to wait, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

export class KubeError extends OperatorError {
  override readonly name = "KubeError";
  readonly kind: KubeFailure;
  readonly call: string | undefined;
  readonly status: number | undefined;
  readonly reason: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, fields: KubeErrorFields) {
    super(message, { cause: fields.cause });
    this.kind = fields.kind;
    this.call = fields.call;
    this.status = fields.status;
    this.reason = fields.reason;
    this.retryAfterMs = fields.retryAfterMs;
  }
}
