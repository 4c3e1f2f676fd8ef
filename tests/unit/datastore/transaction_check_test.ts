import { create } from "@bufbuild/protobuf";
import { expect, test } from "bun:test";
import { validateTransaction } from "../../../src/datastore/mvcc/transaction_check.ts";
import type { RequestError } from "../../../src/datastore/mvcc/request_error.ts";
import {
  CompareSchema,
  type RequestOp,
  RequestOpSchema,
  type TxnRequest,
  TxnRequestSchema,
} from "../../../src/etcd/api/rpc_pb.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function put(key: string): RequestOp {
  const value = { key: bytes(key) };
  return create(RequestOpSchema, { request: { case: "requestPut", value } });
}

function remove(key: string): RequestOp {
  const value = { key: bytes(key) };
  return create(RequestOpSchema, { request: { case: "requestDeleteRange", value } });
}

function nested(success: RequestOp[]): RequestOp {
  const value = { success };
  return create(RequestOpSchema, { request: { case: "requestTxn", value } });
}

function transaction(success: RequestOp[]): TxnRequest {
  return create(TxnRequestSchema, { success });
}

/** 6 x 6 x 14 operations, in nested transactions. */
function many(operation: (key: string) => RequestOp, kind: string): RequestOp[] {
  return Array.from(
    { length: 6 },
    (_, outer) =>
      nested(Array.from({ length: 6 }, (_, middle) =>
        nested(Array.from(
          { length: 12 },
          (_, inner) => operation(`${kind}-${outer}-${middle}-${inner}`),
        )))),
  );
}

test("finds the one key that is both put and deleted", () => {
  const operations = [...many(remove, "old"), ...many(put, "new")];
  validateTransaction(transaction(operations));
  const twice = transaction([...operations, put("old-5-5-11")]);
  expect(() => validateTransaction(twice)).toThrow("duplicate key");
});

test("one level may have 128 comparisons, and as many operations in each branch", () => {
  const operations = Array.from({ length: 128 }, (_, index) => put(`${index}`));
  const compare = operations.map(() => create(CompareSchema, { key: bytes("k") }));
  const request = create(TxnRequestSchema, { compare, success: operations, failure: operations });
  validateTransaction(request);
  request.failure.push(put("more"));
  expect(() => validateTransaction(request)).toThrow("too many operations");
});

test("nesting does not multiply the number of allowed operations", () => {
  const nestedRanges = (levels: number): RequestOp => {
    if (levels === 0) return range;
    return nested(Array.from({ length: 18 }, () => nestedRanges(levels - 1)));
  };
  const range = create(RequestOpSchema, {
    request: { case: "requestRange", value: { key: bytes("k") } },
  });
  validateTransaction(transaction([nestedRanges(2)]));
  const refusal = (() => {
    try {
      validateTransaction(transaction([nestedRanges(3)]));
    } catch (error) {
      return error as RequestError;
    }
    return undefined;
  })();
  expect([refusal?.code, refusal?.message])
    .toEqual([3, "etcdserver: too many operations in txn request"]);
});
