import { expect, test } from "bun:test";
import { Compactor } from "../../../src/datastore/mvcc/compactor.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { ALL_KEYS } from "../../../src/datastore/mvcc/key_interval.ts";
import { bytes, TestStore } from "./fixture.ts";

function newCompactor({ store, clock }: TestStore, saveClock: () => void = () => {}): Compactor {
  return new Compactor({ store, clock, log: collectingLog().log, saveClock });
}

test("keeps the last 10 000 revisions", () => {
  using test = new TestStore();
  using _compactor = newCompactor(test);
  while (test.store.revision < 11_000n) test.put("a");
  expect(test.store.compactRevision).toBe(-1n);
  test.put("a");
  expect(test.store.compactRevision).toBe(1_001n);
  expect(test.contents(1_001n)).toEqual(["a="]);
});

test("deletes history older than an hour, but no current key", async () => {
  using test = new TestStore();
  using _compactor = newCompactor(test);
  test.put("a", "old");
  test.put("a", "new");
  await test.clock.advance(60_000);
  test.put("b", "later");
  await test.clock.advance(3_539_000);
  expect(test.contents(2n)).toEqual(["a=old"]);
  await test.clock.advance(60_000);
  expect(test.store.compactRevision).toBe(3n);
  expect(test.contents(3n)).toEqual(["a=new"]);
  await test.clock.advance(86_400_000);
  expect(test.store.compactRevision).toBe(4n);
  expect(test.contents()).toEqual(["a=new", "b=later"]);
});

test("saves the clock of the leases once a minute", async () => {
  using test = new TestStore();
  let saved = 0;
  using _compactor = newCompactor(test, () => saved++);
  await test.clock.advance(600_000);
  expect(saved).toBe(11);
});

test("deletes history in slices without changing what can be read", async () => {
  using test = new TestStore();
  // One revision with more changes than a slice.
  test.store.write((transaction) => {
    for (let number = 0; number < 700; number++) {
      const key = bytes(`many-${number}`);
      transaction.put({ key, value: bytes("first"), lease: 0n }, undefined);
    }
  });
  for (let number = 0; number < 700; number++) test.put(`k${number % 90}`, `${number}`);
  test.store.write((transaction) => {
    for (let number = 0; number < 600; number++) transaction.delete([bytes(`many-${number}`)]);
  });
  for (let number = 0; number < 40; number++) test.delete(`k${number}`);
  test.put("k5", "back");
  const { revision } = test.store;
  const before = test.contents();
  test.put("k6", "later");
  const forgotten = test.store.compact(revision);
  expect(() => test.contents(revision - 1n)).toThrow("compacted");
  expect(test.contents(revision)).toEqual(before);
  await forgotten;
  expect(test.contents(revision)).toEqual(before);
  const { changes } = test.store.changesFrom(ALL_KEYS, 1n, { changes: 9_999, bytes: 1 << 20 });
  // Each key once, and the later changes.
  expect(changes.length).toBe(before.length + 1);
  expect(changes.every(({ kind }) => kind === "put")).toBe(true);
});
