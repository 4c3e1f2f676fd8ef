/** What a failed call to etcd means for the store: whether to repeat it, and its `StoreError`. */

import { EtcdError, isUnreachable } from "../../etcd/client/etcd_error.ts";
import { StoreError } from "../lease_store.ts";
import type { StoreRetry } from "../store_retry.ts";

/** For `retryUntilSuccess`: an `EtcdError` may be repeated, any other error not. */
export function retryOfEtcd(error: unknown): StoreRetry | undefined {
  return error instanceof EtcdError ? { isUnreachable: isUnreachable(error) } : undefined;
}

/** The result of a call to etcd; its failure is thrown as `StoreError`. */
export async function throwingStoreError<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (!(cause instanceof EtcdError)) throw cause;
    throw new StoreError(cause.message, { cause });
  }
}
