/** Validates a transaction before any key is read, as etcd does (its api/v3rpc/key.go). */

import type { TxnRequest } from "../../etcd/api/rpc_pb.ts";
import { keyInterval, keyText } from "./key_interval.ts";
import { KeyIntervalSet } from "./key_interval_set.ts";
import { checkDelete, checkPut } from "./key_writes.ts";
import { validateRange } from "./range_query.ts";
import { RequestError } from "./request_error.ts";

type Operation = TxnRequest["success"][number];

/** etcd's `--max-txn-ops`; a nested transaction has what remains of its parent's limit. */
const MAX_OPERATIONS = 128;
/**
 * Comparisons and operations of all branches and levels. etcd has no such limit, but nesting
 * multiplies the other limit: 18⁴ operations fit into one request.
 */
const MAX_OPERATIONS_IN_ALL = 1_024;

/** Throws `RequestError` for a transaction that etcd rejects regardless of the data. */
export function validateTransaction(request: TxnRequest): void {
  checkOperations(request, MAX_OPERATIONS);
  assertTotal(request, MAX_OPERATIONS_IN_ALL);
  collectWrites(request.success);
  collectWrites(request.failure);
}

function checkOperations({ compare, success, failure }: TxnRequest, allowed: number): void {
  const count = Math.max(compare.length, success.length, failure.length);
  if (count > allowed) throw new RequestError("tooManyOperations");
  if (compare.some(({ key }) => key.length === 0)) throw new RequestError("emptyKey");
  for (const { request } of [...success, ...failure]) {
    switch (request.case) {
      case "requestRange":
        validateRange(request.value);
        break;
      case "requestPut":
        checkPut(request.value);
        break;
      case "requestDeleteRange":
        checkDelete(request.value);
        break;
      case "requestTxn":
        checkOperations(request.value, allowed - count);
        break;
      default:
        throw new RequestError("keyNotFound");
    }
  }
}

/** Returns how many further operations are allowed. */
function assertTotal({ compare, success, failure }: TxnRequest, allowed: number): number {
  let left = allowed - compare.length - success.length - failure.length;
  if (left < 0) throw new RequestError("tooManyOperations");
  for (const { request } of [...success, ...failure]) {
    if (request.case === "requestTxn") left = assertTotal(request.value, left);
  }
  return left;
}

interface Writes {
  readonly puts: ReadonlyMap<string, Uint8Array>;
  readonly deletes: KeyIntervalSet;
}

/**
 * The keys that the operations write. Throws `RequestError` "duplicateKey" if a key is put twice,
 * or put and deleted. The two branches of a nested transaction exclude each other and may share
 * keys.
 */
function collectWrites(operations: readonly Operation[]): Writes {
  const deletes = new KeyIntervalSet();
  for (const { request } of operations) {
    if (request.case !== "requestDeleteRange") continue;
    deletes.add(keyInterval(request.value.key, request.value.rangeEnd));
  }
  const puts = new Map<string, Uint8Array>();
  const add = (key: Uint8Array, exempt?: Writes) => {
    const text = keyText(key);
    const isTwice = puts.has(text) && !exempt?.puts.has(text);
    if (isTwice || deletes.has(key)) throw new RequestError("duplicateKey");
    puts.set(text, key);
  };
  for (const { request } of operations) {
    if (request.case !== "requestTxn") continue;
    const success = collectWrites(request.value.success);
    const failure = collectWrites(request.value.failure);
    for (const key of success.puts.values()) add(key);
    for (const key of failure.puts.values()) add(key, success);
    deletes.addAll(success.deletes);
    deletes.addAll(failure.deletes);
  }
  for (const { request } of operations) {
    if (request.case === "requestPut") add(request.value.key);
  }
  return { puts, deletes };
}
