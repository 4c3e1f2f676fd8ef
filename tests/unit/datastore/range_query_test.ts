import { create } from "@bufbuild/protobuf";
import { expect, test } from "bun:test";
import { queryRange } from "../../../src/datastore/range_query.ts";
import { RangeRequestSchema } from "../../../src/subnet/etcd/rpc/rpc_pb.ts";
import { bytes, TestStore } from "./fixture.ts";

test("a limit may be any number of 64 bits", () => {
  using test = new TestStore();
  for (const key of ["a", "b", "c"]) test.put(key);
  const answer = (limit: bigint) => {
    const request = create(RangeRequestSchema, { key: bytes("a"), rangeEnd: bytes("z"), limit });
    const { kvs, more, count } = queryRange(test.store, request);
    return { keys: kvs.length, more, count };
  };
  expect(answer(2n)).toEqual({ keys: 2, more: true, count: 3n });
  expect(answer(3n)).toEqual({ keys: 3, more: false, count: 3n });
  for (const limit of [-(1n << 63n), -1n, 0n, (1n << 63n) - 1n]) {
    expect(answer(limit)).toEqual({ keys: 3, more: false, count: 3n });
  }
});
