/** Puts and deletions of KV.Put, KV.DeleteRange and KV.Txn. */

import type { DeleteRangeRequest, PutRequest } from "../subnet/etcd/rpc/rpc_pb.ts";
import type { Entry } from "./entry.ts";
import { keyRange } from "./key_range.ts";
import { Refusal } from "./refusal.ts";
import type { WriteTransaction } from "./store.ts";

/** Whether there is a lease with this id. */
export type LeaseLookup = (id: bigint) => boolean;

/** etcd's `--max-request-bytes`, for keys and values. */
export const MAX_REQUEST_BYTES = 1536 << 10;

/** Throws `Refusal` for a request that makes no sense on any data. */
export function checkPut({ key, value, lease, ignoreValue, ignoreLease }: PutRequest): void {
  if (key.length === 0) throw new Refusal("emptyKey");
  if (ignoreValue && value.length > 0) throw new Refusal("valueProvided");
  if (ignoreLease && lease !== 0n) throw new Refusal("leaseProvided");
  if (key.length + value.length > MAX_REQUEST_BYTES) throw new Refusal("requestTooLarge");
}

/** Throws `Refusal` for a lease that is not there, or for a part to be kept of a key that is not. */
export function putKey(
  transaction: WriteTransaction,
  request: PutRequest,
  hasLease: LeaseLookup,
): { prevKv: Entry | undefined } {
  if (request.lease !== 0n && !hasLease(request.lease)) throw new Refusal("leaseNotFound");
  const { key } = request;
  const needsValue = request.ignoreValue || request.prevKv;
  const previous = needsValue ? transaction.get(key) : transaction.properties(key);
  if ((request.ignoreValue || request.ignoreLease) && previous === undefined) {
    throw new Refusal("keyNotFound");
  }
  const value = request.ignoreValue && previous ? previous.value : request.value;
  const lease = request.ignoreLease && previous ? previous.lease : request.lease;
  transaction.put({ key, value, lease }, previous);
  return { prevKv: request.prevKv ? previous : undefined };
}

/** Throws `Refusal` for a request that makes no sense on any data. */
export function checkDelete({ key }: DeleteRangeRequest): void {
  if (key.length === 0) throw new Refusal("emptyKey");
}

export function deleteKeys(
  transaction: WriteTransaction,
  request: DeleteRangeRequest,
): { deleted: bigint; prevKvs: readonly Entry[] } {
  const keysOnly = !request.prevKv;
  const range = keyRange(request.key, request.rangeEnd);
  const { entries, count } = transaction.read(range, { keysOnly });
  transaction.delete(entries.map(({ key }) => key));
  return { deleted: count, prevKvs: request.prevKv ? entries : [] };
}
