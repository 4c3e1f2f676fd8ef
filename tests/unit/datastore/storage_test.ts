import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from "node:fs";
import { DatastoreError } from "../../../src/datastore/mvcc/datastore_error.ts";
import { StorageReport } from "../../../src/datastore/mvcc/storage_report.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { bytes, TestStore, text } from "./fixture.ts";

const ALL = { start: new Uint8Array(), end: undefined };

/** Changes some bytes of the file, as a faulty disk would. The texts are Latin-1. */
async function damage(test: TestStore, before: string, after: string): Promise<void> {
  await changeFile(test, (file) => {
    const content = readFileSync(file);
    let at = content.indexOf(before, 0, "latin1");
    if (at < 0) throw new Error("the file has no such bytes");
    for (; at >= 0; at = content.indexOf(before, at + 1, "latin1")) {
      content.write(after, at, "latin1");
    }
    writeFileSync(file, content);
  });
}

/** Damages a column of one row in one table only. */
async function damageRow(test: TestStore, sql: string): Promise<void> {
  await changeFile(test, (file) => {
    using database = new Database(file);
    expect(database.run(sql).changes).toBe(1);
  });
}

async function changeFile(test: TestStore, change: (file: string) => void): Promise<void> {
  await test.restart();
  const { file } = test.storage;
  test.storage[Symbol.dispose]();
  change(file);
  test.reopen();
}

/** Records what the store reports of its disk. */
function damageReport(test: TestStore): Disposable & { lines(): string[] } {
  const { log, records } = collectingLog();
  const { file } = test.storage;
  const report = new StorageReport({ file, clock: test.clock, log });
  test.storage.events = report;
  return {
    [Symbol.dispose]: () => report[Symbol.dispose](),
    lines: () => records.map(({ msg }) => msg.replace(file, "FILE")),
  };
}

test("a damaged value affects only its key, is reported once, and can be overwritten", async () => {
  using test = new TestStore();
  for (const name of ["a", "b", "c"]) test.put(name, `value-of-${name}`, 7n);
  const { revision } = test.store;
  test.put("d", "value-of-d");
  await damage(test, "value-of-b", "walue-of-b");
  const { log, records } = collectingLog();
  using report = new StorageReport({ file: test.storage.file, clock: test.clock, log });
  test.storage.events = report;
  const refusal = 'the checksum does not match: key "b" of revision 3 is damaged';
  for (let attempt = 0; attempt < 3; attempt++) {
    expect(() => test.contents()).toThrow(refusal);
    expect(() => test.contents(revision)).toThrow(refusal);
  }
  expect(records.map(({ level, msg }) => [level, msg])).toEqual([[
    "error",
    `key "b" of revision 3 in ${test.storage.file} is damaged: the checksum does not match; ` +
    "check the disk, and write the key again or delete it",
  ]]);
  const readable = ["a", "c", "d"].map((name) =>
    test.store.write((transaction) => text(transaction.get(bytes(name))?.value ?? bytes("")))
  );
  expect(readable).toEqual(["value-of-a", "value-of-c", "value-of-d"]);
  const { entries } = test.store.read(ALL, { keysOnly: true });
  expect(entries.map(({ key }) => text(key))).toEqual(["a", "b", "c", "d"]);
  test.store.write((transaction) => {
    const entry = { key: bytes("b"), value: bytes("new"), lease: 0n };
    transaction.put(entry, transaction.properties(entry.key));
  });
  expect(test.contents()).toEqual(["a=value-of-a", "b=new", "c=value-of-c", "d=value-of-d"]);
});

const RESTORED = "in FILE was damaged; restored it from the second copy; check the disk";

for (
  const { what, sql, place } of [
    { what: "a value", sql: "UPDATE live SET value = x'41'", place: '"b" of revision 3' },
    { what: "a version", sql: "UPDATE live SET version = 9", place: '"b" of revision 3' },
    { what: "a revision", sql: "UPDATE live SET mod_revision = 2", place: '"b" of revision 2' },
    { what: "a checksum", sql: "UPDATE live SET checksum = 1", place: '"b" of revision 3' },
    { what: "the key", sql: "UPDATE live SET key = x'7a'", place: '"z" of revision 3' },
    {
      what: "a value in the history",
      sql: "UPDATE history SET value = x'41'",
      place: '"b" of revision 3',
    },
  ]
) {
  test(`${what} that is damaged in one of two copies is restored permanently`, async () => {
    using test = new TestStore();
    for (const value of ["old", "new"]) test.put("b", value, 7n);
    for (const name of ["a", "c"]) test.put(name, `value-of-${name}`, 7n);
    const { revision } = test.store;
    const isLast = sql.includes("history") ? "revision = 3" : "TRUE";
    await damageRow(test, `${sql} WHERE key = x'62' AND ${isLast}`);
    test.put("d");
    using report = damageReport(test);
    const all = ["a=value-of-a", "b=new", "c=value-of-c"];
    expect(test.contents()).toEqual([...all, "d="]);
    expect(test.contents(revision)).toEqual(all);
    const { changes } = test.store.changesFrom(ALL, 2n, { changes: 100, bytes: 1e6 });
    expect(changes.length).toBe(5);
    expect(report.lines()).toEqual([`key ${place} ${RESTORED}`]);
    await test.restart();
    using later = damageReport(test);
    expect(test.contents()).toEqual([...all, "d="]);
    expect(later.lines()).toEqual([]);
  });
}

test("a damaged index is rebuilt during a write", async () => {
  using test = new TestStore();
  const lease = 0x01234567n;
  for (const name of ["a", "b"]) test.put(name, `value-of-${name}`, lease);
  // Only in `live` are the create and last revision between the two.
  await damage(test, "value-of-b\x03\x03\x01\x23\x45\x67", "value-of-b\x03\x03\x01\x23\x45\x66");
  using report = damageReport(test);
  test.store.write((transaction) => {
    const entry = { key: bytes("b"), value: bytes("new"), lease: 0n };
    transaction.put(entry, transaction.properties(entry.key));
  });
  expect(test.contents()).toEqual(["a=value-of-a", "b=new"]);
  expect(report.lines()).toEqual([
    "an index in FILE was damaged; rebuilt it from its table; check the disk",
  ]);
  test.put("b", "newest", lease);
  expect(test.storage.leaseKeys(lease).map(text)).toEqual(["a", "b"]);
});

test("a damaged version is not restored from an older version", async () => {
  using test = new TestStore();
  for (const value of ["old", "new"]) test.put("b", value);
  await damageRow(test, "DELETE FROM history WHERE revision = 3");
  await damageRow(test, "UPDATE live SET value = x'41'");
  expect(() => test.contents()).toThrow('key "b" of revision 3 is damaged');
});

test("a watch whose history is damaged is cancelled as after a compaction", async () => {
  using test = new TestStore();
  test.put("a", "value-of-a");
  test.put("a", "new");
  test.put("b");
  await damage(test, "value-of-a", "walue-of-a");
  using stream = test.hub.open();
  const request = { id: 0n, previous: false, progress: false, without: new Set<never>() };
  stream.create({ ...request, range: ALL, startRevision: 2n });
  stream.create({ ...request, range: ALL, startRevision: 4n });
  const outputs = [
    await stream.next(),
    await stream.next(),
    await stream.next(),
    await stream.next(),
  ];
  expect(outputs).toMatchObject([
    { kind: "created", id: 0n },
    { kind: "created", id: 1n },
    { kind: "compacted", id: 0n, compactRevision: 5n },
    { kind: "events", id: 1n, events: [{ change: { revision: 4n } }] },
  ]);
});

test("logs a full disk with its path and free space, and when there is room again", async () => {
  using test = new TestStore();
  const { log, records } = collectingLog();
  const lines = () =>
    records.map(({ level, msg }) => [level, msg.replaceAll(/[\d.]+ (of|MiB)/g, "N $1")]);
  using report = new StorageReport({ file: test.storage.file, clock: test.clock, log });
  const { file } = test.storage;
  const full = `cannot write ${file}: the disk is full (N of N MiB free); rejecting writes until ` +
    "there is room, still serving reads";
  for (let write = 0; write < 50; write++) {
    report.full();
    if (write % 10 === 0) report.written(); // a small one had room
    await test.clock.advance(1_000);
  }
  expect(lines()).toEqual([["error", full]]);
  await test.clock.advance(20_000);
  report.full();
  expect(lines().at(-1)).toEqual(["error", `${full}; 51 writes rejected so far`]);
  report.written();
  await test.clock.advance(10_000);
  expect(lines().at(-1)).toEqual([
    "info",
    `writing ${file} again (N of N MiB free); rejected 51 writes while the disk was full`,
  ]);
  report.full();
  expect(lines()).toHaveLength(4);
});

test("damage to the structure of the file stops the store", async () => {
  using test = new TestStore();
  // More than SQLite caches in memory.
  for (let number = 0; number < 3_000; number++) test.put(`k${number}`, "v".repeat(3_000));
  await test.restart();
  const { file } = test.storage;
  const handle = openSync(file, "r+");
  writeSync(handle, new Uint8Array(statSync(file).size - 8_192).fill(0xff), null, null, 8_192);
  closeSync(handle);
  expect(() => test.contents()).toThrow(DatastoreError);
  expect((await test.storage.failed).message).toContain("is damaged");
  expect(() => test.put("a")).toThrow("is damaged");
});
