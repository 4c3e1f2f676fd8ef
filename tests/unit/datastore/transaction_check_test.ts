import { create } from "@bufbuild/protobuf";
import { expect, test } from "bun:test";
import { checkTransaction } from "../../../src/datastore/transaction_check.ts";
import {
  type RequestOp,
  RequestOpSchema,
  type TxnRequest,
  TxnRequestSchema,
} from "../../../src/subnet/etcd/rpc/rpc_pb.ts";

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

/** As many of them as a request may hold, in nested transactions. */
function many(operation: (key: string) => RequestOp, kind: string): RequestOp[] {
  return Array.from(
    { length: 30 },
    (_, outer) =>
      nested(Array.from({ length: 30 }, (_, middle) =>
        nested(Array.from(
          { length: 35 },
          (_, inner) => operation(`${kind}-${outer}-${middle}-${inner}`),
        )))),
  );
}

test("31 500 deletions and as many puts are looked at in a moment", () => {
  checkTransaction(transaction([...many(remove, "old"), ...many(put, "new")]));
  // Comparing each key with each range takes twice as long, at least.
}, 5_000);

test("one key among them that is put and deleted is found", () => {
  const operations = [...many(remove, "old"), ...many(put, "new"), put("old-29-29-34")];
  expect(() => checkTransaction(transaction(operations))).toThrow("duplicate key");
});
