import { create, toBinary } from "@bufbuild/protobuf";
import { expect, spyOn, test } from "bun:test";
import { MemoryPool } from "../../../../src/datastore/mvcc/memory_pool.ts";
import { CommitQueue } from "../../../../src/datastore/mvcc/commit_queue.ts";
import { keyCalls } from "../../../../src/datastore/rpc/key_calls.ts";
import type { MessageWriter } from "../../../../src/datastore/rpc/message_stream.ts";
import { RangeRequestSchema, TxnRequestSchema } from "../../../../src/etcd/api/rpc_pb.ts";
import { bytes, TestStore } from "../fixture.ts";

test("a read whose client has disconnected stops and releases its memory", async () => {
  using test = new TestStore();
  for (let number = 0; number < 2_000; number++) test.put(`k${number}`, "v");
  const { store, storage, leases } = test;
  const pool = new MemoryPool({ smallBytes: 1 << 20, largeBytes: 1 << 20 });
  using commits = new CommitQueue(store);
  const range = new Map(keyCalls({ store, storage, commits, lessor: leases, pool })).get(
    "/etcdserverpb.KV/Range",
  );
  const request = create(RangeRequestSchema, { key: bytes("k"), rangeEnd: bytes("l") });
  async function* messages() {
    yield await Promise.resolve(toBinary(RangeRequestSchema, request));
  }
  let asked = 0;
  let sent = 0;
  const writer = {
    peer: "client",
    // Disconnects after some slices.
    get isClosed() {
      return ++asked > 3;
    },
    sendAll: () => {
      sent++;
      return Promise.resolve();
    },
  };
  const served = range?.(messages(), writer as unknown as MessageWriter);
  expect(await served?.then(() => "served", (error: Error) => error.message))
    .toContain("the client has disconnected");
  expect([asked, sent]).toEqual([4, 0]);
  expect(pool.tryTake(1 << 20, "other")).toBeDefined();
});

test("a read waits for memory before it reads anything", async () => {
  using test = new TestStore();
  test.put("k", "x".repeat(1 << 20));
  const { store, storage, leases } = test;
  const pool = new MemoryPool({ smallBytes: 1 << 20, largeBytes: 1 << 20 });
  using commits = new CommitQueue(store);
  const range = new Map(keyCalls({ store, storage, commits, lessor: leases, pool })).get(
    "/etcdserverpb.KV/Range",
  );
  const read = spyOn(storage, "entries");
  const room = pool.tryTake(1 << 20, "other");
  const message = toBinary(RangeRequestSchema, create(RangeRequestSchema, { key: bytes("k") }));
  async function* messages() {
    yield await Promise.resolve(message);
  }
  let sent = 0;
  const writer = {
    isClosed: false,
    peer: "client",
    sendAll: (parts: readonly Uint8Array[]) => {
      sent += parts.reduce((sum, { length }) => sum + length, 0);
      return Promise.resolve();
    },
  };
  const served = range?.(messages(), writer as unknown as MessageWriter);
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect([read.mock.calls.length, sent]).toEqual([0, 0]);
  room?.[Symbol.dispose]();
  await served;
  expect(sent).toBeGreaterThan(1 << 20);
});

test("waiting large requests have a limit of their own", async () => {
  using test = new TestStore();
  test.put("k", "x".repeat(1 << 20));
  const { store, storage, leases } = test;
  const pool = new MemoryPool({ smallBytes: 1 << 20, largeBytes: 1 << 20 });
  using commits = new CommitQueue(store);
  const txn = new Map(keyCalls({ store, storage, commits, lessor: leases, pool })).get(
    "/etcdserverpb.KV/Txn",
  );
  const read = { case: "requestRange" as const, value: { key: bytes("k") } };
  const put = {
    case: "requestPut" as const,
    value: { key: bytes("l"), value: new Uint8Array(1 << 20) },
  };
  const message = toBinary(
    TxnRequestSchema,
    create(TxnRequestSchema, { success: [{ request: read }, { request: put }] }),
  );
  async function* messages() {
    yield await Promise.resolve(message);
  }
  const room = pool.tryTake(1 << 20, "other");
  const writer = { isClosed: false, peer: "client", sendAll: () => Promise.resolve() };
  const outcomes = Array.from({ length: 40 }, async () => {
    try {
      await txn?.(messages(), writer as unknown as MessageWriter);
      return "done";
    } catch (error) {
      return (error as Error).message;
    }
  });
  const refused = await Promise.race(outcomes);
  expect(refused).toContain("too many requests");
  room?.[Symbol.dispose]();
  const counts = Map.groupBy(await Promise.all(outcomes), (outcome) => outcome);
  expect(counts.get("done")?.length).toBe(31);
  expect(counts.get(refused)?.length).toBe(9);
});
