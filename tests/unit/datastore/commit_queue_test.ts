import { expect, test } from "bun:test";
import { CommitQueue } from "../../../src/datastore/mvcc/commit_queue.ts";
import { RequestError } from "../../../src/datastore/mvcc/request_error.ts";
import type { WriteTransaction } from "../../../src/datastore/mvcc/mvcc_store.ts";
import { bytes, TestStore, text } from "./fixture.ts";

const put = (key: string, value = "") => (transaction: WriteTransaction) => {
  const entry = { key: bytes(key), value: bytes(value), lease: 0n };
  transaction.put(entry, transaction.get(entry.key));
  return key;
};

/** Counts the commits. */
function countCommits({ storage }: TestStore): () => number {
  let count = 0;
  const transaction = storage.transaction.bind(storage);
  storage.transaction = (act) => {
    count++;
    return transaction(act);
  };
  return () => count;
}

test("concurrent writes share one commit and get a revision each", async () => {
  using test = new TestStore();
  using queue = new CommitQueue(test.store);
  const commits = countCommits(test);
  const notified: string[] = [];
  using _listener = test.store.onCommit((changes) => {
    const keys = changes.map((change) => change.kind === "put" ? text(change.entry.key) : "");
    notified.push(`${changes[0]?.revision}: ${keys}`);
  });
  const nothing = () => "nothing";
  const acts = [put("a", "1"), put("b"), nothing, put("a", "2")];
  const writes = acts.map((act) => queue.write(act));
  expect(test.store.revision).toBe(1n);
  expect(await Promise.all(writes)).toEqual([
    { result: "a", revision: 2n },
    { result: "b", revision: 3n },
    { result: "nothing", revision: 3n },
    { result: "a", revision: 4n },
  ]);
  expect(commits()).toBe(1);
  expect(notified).toEqual(["2: a", "3: b", "4: a"]);
  expect(test.contents(2n)).toEqual(["a=1"]);
  await test.restart();
  expect(test.store.revision).toBe(4n);
  expect(test.contents()).toEqual(["a=2", "b="]);
});

test("each write sees the earlier ones of its commit, and no later revision", async () => {
  using test = new TestStore();
  using queue = new CommitQueue(test.store);
  const readAt = (revision: bigint) => (transaction: WriteTransaction) => {
    const range = { start: new Uint8Array(), end: undefined };
    return transaction.read(range, { revision }).entries.map(({ key }) => text(key));
  };
  const writes = [
    queue.write(put("a")),
    queue.write(readAt(2n)),
    queue.write(put("b")),
    queue.write(readAt(2n)),
    queue.write(readAt(0n)),
  ];
  expect((await Promise.all(writes)).map(({ result }) => result))
    .toEqual(["a", ["a"], "b", ["a"], ["a", "b"]]);
  const early = [queue.write(readAt(4n)), queue.write(put("c")), queue.write(readAt(4n))];
  const [refused, , read] = await Promise.allSettled(early);
  expect(refused).toMatchObject({ status: "rejected", reason: { reason: "futureRevision" } });
  expect(read).toMatchObject({ status: "fulfilled", value: { result: ["a", "b", "c"] } });
});

test("an invalid write changes nothing and does not prevent the others", async () => {
  using test = new TestStore();
  using queue = new CommitQueue(test.store);
  const refusal = new RequestError("leaseNotFound");
  const refuse = (transaction: WriteTransaction) => {
    put("half")(transaction);
    throw refusal;
  };
  const writes = [put("a"), refuse, put("b")].map((act) => queue.write(act));
  expect(await Promise.allSettled(writes)).toEqual([
    { status: "fulfilled", value: { result: "a", revision: 2n } },
    { status: "rejected", reason: refusal },
    { status: "fulfilled", value: { result: "b", revision: 3n } },
  ]);
  expect(test.contents()).toEqual(["a=", "b="]);
});

test("a failure rejects all waiting writes, and nothing is written", async () => {
  using test = new TestStore();
  using queue = new CommitQueue(test.store);
  const fault = new Error("a fault of the program");
  const fail = () => {
    throw fault;
  };
  const writes = [put("a"), fail].map((act) => queue.write(act));
  const rejected = { status: "rejected" as const, reason: fault };
  expect(await Promise.allSettled(writes)).toEqual([rejected, rejected]);
  expect([test.store.revision, test.contents()]).toEqual([1n, []]);
});

test("pending writes are performed at the end", async () => {
  using test = new TestStore();
  const queue = new CommitQueue(test.store);
  const write = queue.write(put("a"));
  queue[Symbol.dispose]();
  expect(test.contents()).toEqual(["a="]);
  expect(await write).toEqual({ result: "a", revision: 2n });
});
