import { expect, test } from "bun:test";
import { Compactor } from "../../../src/datastore/compactor.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { TestStore } from "./fixture.ts";

function newCompactor({ store, clock }: TestStore, saveClock: () => void = () => {}): Compactor {
  return new Compactor({ store, clock, log: collectingLog().log, saveClock });
}

test("the last 10 000 revisions are kept", () => {
  using test = new TestStore();
  using _compactor = newCompactor(test);
  while (test.store.revision < 11_000n) test.put("a");
  expect(test.store.compactRevision).toBe(-1n);
  test.put("a");
  expect(test.store.compactRevision).toBe(1_001n);
  expect(test.contents(1_001n)).toEqual(["a="]);
});

test("what is older than an hour is forgotten, and what is present is not", async () => {
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

test("the leases' time is saved once a minute", async () => {
  using test = new TestStore();
  let saved = 0;
  using _compactor = newCompactor(test, () => saved++);
  await test.clock.advance(600_000);
  expect(saved).toBe(11);
});
