/** etcd's messages, as bytes: the requests, and the values read from a response. */

import { create, fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "bun:test";
import { etcdMethods } from "../../../src/etcd/client/etcd_messages.ts";
import {
  etcdKeyRange,
  keyValue,
  rangeMessage,
  rangeResult,
  transactionMessage,
  transactionResult,
} from "../../../src/etcd/client/request_messages.ts";
import { KeyValueSchema } from "../../../src/etcd/api/kv_pb.ts";
import {
  Compare_CompareResult as CompareResult,
  Compare_CompareTarget as CompareTarget,
  RangeRequestSchema,
  RangeResponseSchema,
  TxnRequestSchema,
  TxnResponseSchema,
} from "../../../src/etcd/api/rpc_pb.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);

const STORED = {
  key: utf8("/net/ü"),
  value: utf8("a value"),
  createRevision: 3n,
  modRevision: 5n,
  version: 2n,
  lease: 77n,
};
const READ = { ...STORED, key: "/net/ü", value: "a value" };

test("keyRange() is one key, a prefix to the next key after it, or everything", () => {
  const of = (key: string, prefix?: boolean) => {
    const range = etcdKeyRange({ key, ...(prefix !== undefined && { prefix }) });
    return [[...range.key], [...range.rangeEnd]];
  };
  expect(of("ab")).toEqual([[97, 98], []]);
  expect(of("ab", false)).toEqual([[97, 98], []]);
  expect(of("ab", true)).toEqual([[97, 98], [97, 99]]);
  expect(of("", true)).toEqual([[0], [0]]);
  expect(of("", false)).toEqual([[], []]);
});

test("rangeMessage() asks for values unless only keys are wanted", () => {
  const sent = (request: Parameters<typeof rangeMessage>[0]) =>
    fromBinary(RangeRequestSchema, etcdMethods.range.encode(rangeMessage(request)));
  expect(sent({ key: "a", prefix: true })).toMatchObject({
    key: utf8("a"),
    rangeEnd: utf8("b"),
    keysOnly: false,
    limit: 0n,
    serializable: false,
  });
  expect(sent({ key: "a", keysOnly: true }).keysOnly).toBe(true);
});

test("rangeResult() reads each key and the revision", () => {
  const response = create(RangeResponseSchema, { kvs: [STORED], header: { revision: 9n } });
  expect(rangeResult(response)).toEqual({ keyValues: [READ], revision: 9n });
  expect(keyValue(create(KeyValueSchema, STORED))).toEqual(READ);
});

test("transactionMessage() compares, and then puts, deletes and reads in the given order", () => {
  const message = etcdMethods.transaction.encode(
    transactionMessage({
      compare: [{ key: "a", createRevision: 0n }, { key: "b", modRevision: 7n }],
      success: [
        { put: { key: "a", value: "ü", lease: 77n } },
        { put: { key: "b", value: "" } },
        { delete: { key: "c" } },
        { range: { key: "d", prefix: true, keysOnly: true } },
      ],
      failure: [{ range: { key: "a" } }],
    }),
  );
  const sent = fromBinary(TxnRequestSchema, message);
  expect(sent.compare).toMatchObject([
    {
      key: utf8("a"),
      result: CompareResult.EQUAL,
      target: CompareTarget.CREATE,
      targetUnion: { case: "createRevision", value: 0n },
    },
    {
      key: utf8("b"),
      result: CompareResult.EQUAL,
      target: CompareTarget.MOD,
      targetUnion: { case: "modRevision", value: 7n },
    },
  ]);
  expect(sent.success.map(({ request }) => request as unknown)).toMatchObject([
    { case: "requestPut", value: { key: utf8("a"), value: utf8("ü"), lease: 77n } },
    { case: "requestPut", value: { key: utf8("b"), value: utf8(""), lease: 0n } },
    { case: "requestDeleteRange", value: { key: utf8("c"), rangeEnd: utf8("") } },
    { case: "requestRange", value: { key: utf8("d"), rangeEnd: utf8("e"), keysOnly: true } },
  ]);
  expect(sent.failure.map(({ request }) => request as unknown)).toMatchObject([
    { case: "requestRange", value: { key: utf8("a"), keysOnly: false } },
  ]);
});

test("transactionMessage() does nothing on failure where nothing is asked for", () => {
  expect(transactionMessage({ compare: [], success: [] })).toEqual({
    compare: [],
    success: [],
    failure: [],
  });
});

test("transactionResult() has keys for each range, and none for each change", () => {
  const response = create(TxnResponseSchema, {
    succeeded: true,
    header: { revision: 9n },
    responses: [
      { response: { case: "responsePut", value: {} } },
      { response: { case: "responseRange", value: { kvs: [STORED] } } },
      { response: { case: "responseDeleteRange", value: {} } },
    ],
  });
  expect(transactionResult(response)).toEqual({
    succeeded: true,
    revision: 9n,
    ranges: [[], [READ], []],
  });
});
