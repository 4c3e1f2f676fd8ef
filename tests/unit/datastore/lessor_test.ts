import { expect, spyOn, test } from "bun:test";
import { RequestError } from "../../../src/datastore/mvcc/request_error.ts";
import { TestStore } from "./fixture.ts";

test("an expired lease deletes its keys in one revision, and not earlier", async () => {
  using test = new TestStore();
  const { id } = test.leases.grant({ id: 0n, ttlSeconds: 60n });
  test.put("kept");
  test.put("a", "1", id);
  test.put("b", "2", id);
  const revision = test.store.revision;
  await test.clock.advance(59_999);
  expect(test.contents()).toEqual(["a=1", "b=2", "kept="]);
  await test.clock.advance(1);
  expect(test.contents()).toEqual(["kept="]);
  expect(test.store.revision).toBe(revision + 1n);
  expect(test.leases.ids).toEqual([]);
});

test("a keep-alive restarts the time to live", async () => {
  using test = new TestStore();
  test.leases.grant({ id: 7n, ttlSeconds: 60n });
  await test.clock.advance(50_000);
  expect(test.leases.timeToLive(7n)).toEqual({ remainingSeconds: 10n, grantedSeconds: 60n });
  expect(await test.leases.keepAlive(7n)).toBe(60n);
  await test.clock.advance(59_000);
  expect(test.leases.timeToLive(7n)?.remainingSeconds).toBe(1n);
  await test.clock.advance(1_000);
  expect(await test.leases.keepAlive(7n)).toBe(0n);
});

test("the remaining time of a lease does not pass while the store is down", async () => {
  using test = new TestStore();
  test.leases.grant({ id: 7n, ttlSeconds: 60n });
  test.put("a", "1", 7n);
  await test.clock.advance(20_000);
  await test.restart(3_600_000);
  expect(test.leases.timeToLive(7n)).toEqual({ remainingSeconds: 40n, grantedSeconds: 60n });
  await test.clock.advance(39_000);
  expect(test.contents()).toEqual(["a=1"]);
  await test.clock.advance(1_000);
  expect(test.contents()).toEqual([]);
});

test("a lease has at least ten seconds after a start, for its owner to reconnect", async () => {
  using test = new TestStore();
  test.leases.grant({ id: 7n, ttlSeconds: 60n });
  test.leases.grant({ id: 8n, ttlSeconds: 5n });
  await test.clock.advance(4_900);
  await test.restart();
  await test.clock.advance(4_900);
  expect(test.leases.ids).toEqual([7n, 8n]);
  await test.clock.advance(100);
  expect(test.leases.ids).toEqual([7n]);
});

test("a key that was attached to another lease survives the first one", async () => {
  using test = new TestStore();
  test.leases.grant({ id: 1n, ttlSeconds: 10n });
  test.leases.grant({ id: 2n, ttlSeconds: 20n });
  test.put("a", "", 1n);
  test.put("a", "", 2n);
  await test.clock.advance(15_000);
  expect(test.contents()).toEqual(["a="]);
  await test.clock.advance(5_000);
  expect(test.contents()).toEqual([]);
});

test("a lease may last a year, longer than a timer", async () => {
  using test = new TestStore();
  const year = 365n * 86_400n;
  test.leases.grant({ id: 1n, ttlSeconds: year });
  await test.clock.advance(Number(year - 1n) * 1_000);
  expect(test.leases.ids).toEqual([1n]);
  await test.clock.advance(1_000);
  expect(test.leases.ids).toEqual([]);
});

test("a time to live below two seconds becomes two seconds, as in etcd", () => {
  using test = new TestStore();
  expect(test.leases.grant({ id: 1n, ttlSeconds: 0n }).ttlSeconds).toBe(2n);
});

test("leases that cannot be revoked are one line in the log, and are retried", async () => {
  using test = new TestStore();
  for (const id of [1n, 2n, 3n]) test.leases.grant({ id, ttlSeconds: 60n });
  const { storage } = test;
  const removeLease = storage.removeLease.bind(storage);
  storage.removeLease = () => {
    throw new RequestError("noSpace");
  };
  await test.clock.advance(65_000);
  expect(test.records.map(({ msg }) => msg)).toEqual([
    "cannot revoke expired lease 1: etcdserver: mvcc: database space exceeded (and 2 more); " +
    "retrying",
  ]);
  storage.removeLease = removeLease;
  await test.clock.advance(10_000);
  expect(test.leases.ids).toEqual([]);
});

test("concurrent keep-alives share one write; one for a missing lease returns 0", async () => {
  using test = new TestStore();
  for (const id of [1n, 2n, 3n]) test.leases.grant({ id, ttlSeconds: 60n });
  await test.clock.advance(50_000);
  const { storage } = test;
  let transactions = 0;
  const transaction = storage.transaction.bind(storage);
  storage.transaction = (act) => {
    transactions++;
    return transaction(act);
  };
  const renewals = [1n, 2n, 9n, 1n].map((id) => test.leases.keepAlive(id));
  expect(await Promise.all(renewals)).toEqual([60n, 60n, 0n, 60n]);
  expect(transactions).toBe(1);
  await test.restart();
  const left = [1n, 2n, 3n].map((id) => test.leases.timeToLive(id)?.remainingSeconds);
  expect(left).toEqual([60n, 60n, 10n]);
});

test("a lease that expires while its keep-alive waits is revoked", async () => {
  using test = new TestStore();
  test.leases.grant({ id: 1n, ttlSeconds: 60n });
  const renewal = test.leases.keepAlive(1n);
  test.leases.revoke(1n);
  expect(await renewal).toBe(0n);
  expect(test.leases.ids).toEqual([]);
  expect(test.storage.leases()).toEqual([]);
});

test("keep-alives fail with the disk's error; pending ones are written at the end", async () => {
  using test = new TestStore();
  test.leases.grant({ id: 1n, ttlSeconds: 60n });
  await test.clock.advance(30_000);
  const { storage } = test;
  const writeLease = storage.writeLease.bind(storage);
  storage.writeLease = () => {
    throw new RequestError("noSpace");
  };
  const refused = [1n, 1n].map((id) => test.leases.keepAlive(id).catch((error: Error) => error));
  expect(await Promise.all(refused)).toEqual([expect.any(RequestError), expect.any(RequestError)]);
  expect(test.leases.timeToLive(1n)?.remainingSeconds).toBe(30n);
  storage.writeLease = writeLease;
  const last = test.leases.keepAlive(1n);
  await test.restart();
  expect(await last).toBe(60n);
  expect(test.leases.timeToLive(1n)?.remainingSeconds).toBe(60n);
});

test("when thousands of leases expire at once, keep-alives still renew the last ones", async () => {
  using test = new TestStore();
  const ids = Array.from({ length: 1_000 }, (_, index) => BigInt(index + 1));
  for (const id of ids) {
    test.leases.grant({ id, ttlSeconds: 30n });
    test.put(`${id}`, "", id);
  }
  const { revision } = test.store;
  const commits = spyOn(test.storage, "transaction");
  let renewed: Promise<bigint> | undefined;
  using _commits = test.store.onCommit(() => renewed ??= test.leases.keepAlive(1_000n));
  await test.clock.advance(30_000);
  expect(await renewed).toBe(30n);
  expect(test.contents()).toEqual(["1000="]);
  expect(test.leases.ids).toEqual([1_000n]);
  // One revision for each, as in etcd, but not one fsync.
  expect(test.store.revision).toBe(revision + 999n);
  expect(commits.mock.calls.length).toBeLessThan(20);
});
