/** Puts and deletions of KV.Put, KV.DeleteRange and KV.Txn. */

import type { DeleteRangeRequest, PutRequest } from "../../etcd/api/rpc_pb.ts";
import type { RevisionEntry } from "./revision_entry.ts";
import { keyInterval } from "./key_interval.ts";
import { RequestError } from "./request_error.ts";
import type { WriteTransaction } from "./mvcc_store.ts";

/** Whether a lease with this id exists. */
export type LeaseExistence = (id: bigint) => boolean;

/** etcd's `--max-request-bytes`, for keys and values. */
export const MAX_REQUEST_BYTES = 1536 << 10;

/** Throws `RequestError` for a request that is invalid regardless of the data. */
export function checkPut({ key, value, lease, ignoreValue, ignoreLease }: PutRequest): void {
  if (key.length === 0) throw new RequestError("emptyKey");
  if (ignoreValue && value.length > 0) throw new RequestError("valueProvided");
  if (ignoreLease && lease !== 0n) throw new RequestError("leaseProvided");
  if (key.length + value.length > MAX_REQUEST_BYTES) throw new RequestError("requestTooLarge");
}

/**
 * Throws `RequestError` if the lease, or the key whose value or lease is to be kept, does not
 * exist.
 */
export function putKey(
  transaction: WriteTransaction,
  request: PutRequest,
  hasLease: LeaseExistence,
): { prevKv: RevisionEntry | undefined } {
  if (request.lease !== 0n && !hasLease(request.lease)) throw new RequestError("leaseNotFound");
  const { key } = request;
  const needsValue = request.ignoreValue || request.prevKv;
  const previous = needsValue ? transaction.get(key) : transaction.properties(key);
  if ((request.ignoreValue || request.ignoreLease) && previous === undefined) {
    throw new RequestError("keyNotFound");
  }
  const value = request.ignoreValue && previous ? previous.value : request.value;
  const lease = request.ignoreLease && previous ? previous.lease : request.lease;
  transaction.put({ key, value, lease }, previous);
  return { prevKv: request.prevKv ? previous : undefined };
}

/** Throws `RequestError` for a request that is invalid regardless of the data. */
export function checkDelete({ key }: DeleteRangeRequest): void {
  if (key.length === 0) throw new RequestError("emptyKey");
}

export function deleteKeys(
  transaction: WriteTransaction,
  request: DeleteRangeRequest,
): { deleted: bigint; prevKvs: readonly RevisionEntry[] } {
  const keysOnly = !request.prevKv;
  const range = keyInterval(request.key, request.rangeEnd);
  const { entries, count } = transaction.read(range, { keysOnly });
  transaction.delete(entries.map(({ key }) => key));
  return { deleted: count, prevKvs: request.prevKv ? entries : [] };
}
