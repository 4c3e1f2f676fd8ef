import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { expect, test } from "bun:test";
import type { RevisionEntry } from "../../../src/datastore/mvcc/revision_entry.ts";
import {
  queryRange,
  type RangeQueryResult,
  sliceRange,
} from "../../../src/datastore/mvcc/range_query.ts";
import {
  RangeRequest_SortOrder as SortOrder,
  RangeRequest_SortTarget as SortTarget,
  RangeRequestSchema,
} from "../../../src/etcd/api/rpc_pb.ts";
import { bytes, TestStore, text } from "./fixture.ts";

const ALL = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };

/** Reads in slices; returns the result and its announced cost. */
async function slices(
  { store }: TestStore,
  init: MessageInitShape<typeof RangeRequestSchema>,
  between: () => void = () => {},
): Promise<RangeQueryResult & { cost: number; pauses: number }> {
  const kvs: RevisionEntry[] = [];
  let [cost, pauses] = [0, 0];
  const request = create(RangeRequestSchema, { ...ALL, ...init });
  using snapshot = store.snapshot(request.revision);
  const rest = await sliceRange(snapshot, request, {
    admit: (all) => {
      cost = all;
      return undefined;
    },
    emit: (part) => kvs.push(...part),
    pause: () => {
      pauses++;
      between();
      return Promise.resolve();
    },
  });
  return { kvs, ...rest, cost, pauses };
}

test("a limit may be any 64-bit number", () => {
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

test("the slices of a read add up to the result of a single read", async () => {
  using test = new TestStore();
  test.store.writeEach(
    Array.from({ length: 700 }, (_, index) => (transaction) => {
      const key = bytes(`k${(index * 37) % 600}`);
      const entry = { key, value: bytes(`${index % 10}`), lease: 0n };
      transaction.put(entry, transaction.get(key));
    }),
  );
  const orders = [SortOrder.NONE, SortOrder.ASCEND, SortOrder.DESCEND];
  const targets = [SortTarget.KEY, SortTarget.VERSION, SortTarget.VALUE];
  for (const limit of [0n, 1n, 250n, 251n, 599n, 600n, 601n]) {
    for (const sortOrder of orders) {
      for (const sortTarget of targets) {
        for (const more of [{}, { keysOnly: true }, { minModRevision: 100n }, { revision: 500n }]) {
          const init = { limit, sortOrder, sortTarget, ...more };
          const { kvs, more: hasMore, count } = await slices(test, init);
          const whole = queryRange(test.store, create(RangeRequestSchema, { ...ALL, ...init }));
          expect({ init, kvs, more: hasMore, count }).toEqual({
            init,
            ...whole,
            kvs: [...whole.kvs],
          });
        }
      }
    }
  }
  expect(await slices(test, { countOnly: true })).toMatchObject({ kvs: [], count: 600n });
});

test("a read in slices shows one revision despite concurrent writes and compactions", async () => {
  using test = new TestStore();
  for (let number = 1000; number < 2000; number++) test.put(`k${number}`, "before");
  const { revision } = test.store;
  let number = 1000;
  const { kvs, count, pauses } = await slices(test, {}, () => {
    test.put(`k${number}`, "after");
    test.put(`k${2999 - number}`, "after");
    test.delete(`k${number + 500}`);
    test.put(`k${number++}-more`, "after");
    void test.store.compact(test.store.revision);
  });
  expect(pauses).toBeGreaterThan(2);
  expect(count).toBe(1000n);
  expect(kvs.map(({ key, value }) => `${text(key)}=${text(value)}`))
    .toEqual(Array.from({ length: 1000 }, (_, index) => `k${1000 + index}=before`));
  expect(() => test.contents(revision)).toThrow("compacted");
  // The next compaction deletes the history of the snapshot.
  test.put("last");
  await test.store.compact(test.store.revision);
  const { keys } = test.storage.measure({ range: { start: bytes(""), end: undefined }, revision });
  expect(keys).toBeLessThan(1000);
});

test("large values are read a few at a time, after their size is known", async () => {
  using test = new TestStore();
  for (let number = 0; number < 8; number++) test.put(`k${number}`, "x".repeat(1 << 20));
  const { kvs, cost, pauses } = await slices(test, {});
  expect([kvs.length, pauses]).toEqual([8, 7]);
  expect(cost).toBe(8 * ((1 << 20) + 2 + 128));
  expect((await slices(test, { limit: 2n })).cost).toBe(2 * ((1 << 20) + 2 + 128));
  expect((await slices(test, { keysOnly: true })).cost).toBe(8 * (2 + 128));
});
