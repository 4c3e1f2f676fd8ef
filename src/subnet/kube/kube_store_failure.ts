/** What a failed call to the Kubernetes API means for the store. */

import { KubeError, type KubeFailure } from "../../kube/kube_error.ts";
import { StoreError } from "../lease_store.ts";
import type { StoreRetry } from "../store_retry.ts";

/** Something that the cluster does not have yet: the Node, its pod CIDR. It is waited for. */
export class NotYetError extends StoreError {
  override readonly name = "NotYetError";
}

/** For `retryUntilSuccess`: what the API refused, or does not have yet, may change. */
export function retryOfKube(error: unknown): StoreRetry | undefined {
  if (error instanceof NotYetError) return {};
  if (!(error instanceof KubeError)) return undefined;
  return { isUnreachable: error.kind === "unreachable", retryAfterMs: error.retryAfterMs };
}

export function isKubeError(error: unknown, ...kinds: readonly KubeFailure[]): boolean {
  return error instanceof KubeError && kinds.includes(error.kind);
}
