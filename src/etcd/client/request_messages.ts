/** Converts the port's values to etcd's messages and back. */

import type {
  EtcdKeyValue,
  EtcdOperation,
  KeyComparison,
  KeyRange,
  RangeResult,
  Transaction,
  TransactionResult,
} from "./etcd.ts";
import {
  COMPARE_CREATE,
  COMPARE_MOD,
  type ComparisonMessage,
  type OperationMessage,
  type RangeMessage,
  type RangeReply,
  type StoredKeyValue,
  type TransactionMessage,
  type TransactionReply,
} from "./etcd_messages.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** `key` and `range_end` of one key or, with `prefix`, of all keys that begin with it. */
export function etcdKeyRange(
  request: KeyRange,
): { key: Uint8Array<ArrayBuffer>; rangeEnd: Uint8Array<ArrayBuffer> } {
  const key = encoder.encode(request.key);
  if (!request.prefix) return { key, rangeEnd: new Uint8Array() };
  // All keys: from a zero byte on, without an end.
  if (key.length === 0) return { key: new Uint8Array(1), rangeEnd: new Uint8Array(1) };
  return { key, rangeEnd: prefixEnd(key) };
}

export function rangeMessage(request: KeyRange): RangeMessage {
  return { ...etcdKeyRange(request), keysOnly: request.keysOnly ?? false };
}

export function rangeResult(response: RangeReply): RangeResult {
  return {
    keyValues: response.kvs.map(keyValue),
    revision: response.header?.revision ?? 0n,
  };
}

export function transactionMessage(
  transaction: Transaction,
): TransactionMessage {
  return {
    compare: transaction.compare.map(compareMessage),
    success: transaction.success.map(operationMessage),
    failure: (transaction.failure ?? []).map(operationMessage),
  };
}

export function transactionResult(response: TransactionReply): TransactionResult {
  return {
    succeeded: response.succeeded,
    revision: response.header?.revision ?? 0n,
    ranges: response.responses.map(({ response }) =>
      response.case === "responseRange" ? response.value.kvs.map(keyValue) : []
    ),
  };
}

export function keyValue(message: StoredKeyValue): EtcdKeyValue {
  return {
    key: decoder.decode(message.key),
    value: decoder.decode(message.value),
    createRevision: message.createRevision,
    modRevision: message.modRevision,
    version: message.version,
    lease: message.lease,
  };
}

function compareMessage(compare: KeyComparison): ComparisonMessage {
  const key = encoder.encode(compare.key);
  return "createRevision" in compare
    ? {
      key,
      target: COMPARE_CREATE,
      targetUnion: { case: "createRevision", value: compare.createRevision },
    }
    : {
      key,
      target: COMPARE_MOD,
      targetUnion: { case: "modRevision", value: compare.modRevision },
    };
}

function operationMessage(operation: EtcdOperation): OperationMessage {
  if ("put" in operation) {
    const { key, value, lease = 0n } = operation.put;
    const put = { key: encoder.encode(key), value: encoder.encode(value), lease };
    return { request: { case: "requestPut", value: put } };
  }
  if ("delete" in operation) {
    const key = encoder.encode(operation.delete.key);
    return { request: { case: "requestDeleteRange", value: { key } } };
  }
  return { request: { case: "requestRange", value: rangeMessage(operation.range) } };
}

/** The first key after all that begin with `prefix`, in which, as UTF-8, no byte is 255. */
function prefixEnd(prefix: Uint8Array): Uint8Array<ArrayBuffer> {
  const end = Uint8Array.from(prefix);
  end[end.length - 1] = (prefix.at(-1) as number) + 1;
  return end;
}
