import { expect, test } from "bun:test";
import { keyInterval } from "../../../src/datastore/mvcc/key_interval.ts";
import type { WatchOutput } from "../../../src/datastore/mvcc/watch_event.ts";
import type { WatchStream } from "../../../src/datastore/mvcc/watch_stream.ts";
import { bytes, TestStore, text } from "./fixture.ts";

const UNKEPT = 12_000;

function watch(
  stream: WatchStream,
  more: { from?: bigint; id?: bigint; progress?: boolean; previous?: boolean } = {},
) {
  stream.create({
    range: keyInterval(bytes("k"), bytes("l")),
    startRevision: more.from ?? 0n,
    id: more.id ?? 0n,
    previous: more.previous ?? false,
    progress: more.progress ?? false,
    without: new Set(),
  });
}

/** Takes all pending messages. */
async function drain(stream: WatchStream): Promise<WatchOutput[]> {
  const outputs: WatchOutput[] = [];
  for (;;) {
    const pause = new Promise<undefined>((resolve) => setTimeout(resolve, 10));
    const next = pending.get(stream) ?? stream.next();
    const output = await Promise.race([next, pause]);
    if (output === undefined) {
      pending.set(stream, next);
      return outputs;
    }
    pending.delete(stream);
    outputs.push(output);
  }
}
const pending = new WeakMap<WatchStream, Promise<WatchOutput | undefined>>();

function keysOf(outputs: readonly WatchOutput[]): string[] {
  return outputs.flatMap((output) =>
    output.kind === "events"
      ? output.events.map(({ change }) =>
        text(change.kind === "put" ? change.entry.key : change.key)
      )
      : []
  );
}

const names = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `k${from + index}`);

test("the queue of a client that does not read is limited, and it misses nothing", async () => {
  using test = new TestStore();
  using stream = test.hub.open();
  watch(stream);
  for (const name of names(0, 5_000)) test.put(name);
  const outputs = await drain(stream);
  const sizes = outputs.map((output) => output.kind === "events" ? output.events.length : 0);
  // The queue is one message; the rest comes from the history, page by page.
  expect(sizes[1]).toBe(1_000);
  expect(Math.max(...sizes.slice(2))).toBeLessThanOrEqual(500);
  expect(keysOf(outputs)).toEqual(names(0, 5_000));
  test.put("k-after");
  expect(keysOf(await drain(stream))).toEqual(["k-after"]);
});

test("changes during a catch-up follow the missed ones", async () => {
  using test = new TestStore();
  for (const name of names(0, 700)) test.put(name);
  using stream = test.hub.open();
  watch(stream, { from: 2n });
  expect(await stream.next()).toMatchObject({ kind: "created", revision: 701n });
  const first = await stream.next();
  for (const name of names(700, 710)) test.put(name);
  const rest = await drain(stream);
  expect(keysOf([first as WatchOutput, ...rest])).toEqual(names(0, 710));
});

test("a client that lags behind a compaction learns the first available revision", async () => {
  using test = new TestStore();
  using stream = test.hub.open();
  watch(stream, { id: 5n });
  for (const name of names(0, UNKEPT)) test.put(name);
  await test.store.compact(10_000n);
  const outputs = await drain(stream);
  expect(keysOf(outputs)).toEqual(names(0, 1_000));
  expect(outputs.at(-1)).toEqual({ kind: "compacted", id: 5n, compactRevision: 10_000n });
  test.put("k");
  expect(await drain(stream)).toEqual([]);
});

test("past large values arrive in messages of about 1 MB, with complete revisions", async () => {
  using test = new TestStore();
  const large = "x".repeat(300_000);
  for (const name of names(0, 10)) test.put(name, large);
  test.store.write((transaction) => {
    for (const name of names(10, 18)) {
      transaction.put({ key: bytes(name), value: bytes(large), lease: 0n }, undefined);
    }
  });
  for (const name of names(18, 20)) test.put(name);
  using stream = test.hub.open();
  watch(stream, { from: 2n });
  const outputs = (await drain(stream)).slice(1);
  expect(outputs.map((output) => output.kind === "events" ? output.events.length : 0))
    .toEqual([3, 3, 3, 1, 8, 2]);
  expect(outputs.map((output) => "revision" in output ? output.revision : 0n))
    .toEqual([4n, 7n, 10n, 11n, 12n, 14n]);
  expect(keysOf(outputs)).toEqual(names(0, 20));
});

test("previous values count towards the size of a message", async () => {
  using test = new TestStore();
  const all = names(0, 10);
  for (const name of all) test.put(name, "x".repeat(300_000));
  const deleted = test.store.revision + 1n;
  for (const name of all) test.delete(name);
  const sizes: number[][] = [];
  for (const previous of [false, true]) {
    using stream = test.hub.open();
    watch(stream, { from: deleted, previous });
    const outputs = (await drain(stream)).slice(1);
    expect(keysOf(outputs)).toEqual(all);
    sizes.push(outputs.map((output) => output.kind === "events" ? output.events.length : 0));
  }
  expect(sizes).toEqual([[10], [4, 4, 2]]);
});

test("reports at most 32 MiB of previous values for one revision", async () => {
  using test = new TestStore();
  const all = names(0, 40);
  for (const name of all) test.put(name, "x".repeat(1 << 20));
  const from = test.store.revision + 1n;
  using live = test.hub.open();
  watch(live, { previous: true });
  test.store.write((transaction) => transaction.delete(all.map(bytes)));
  using later = test.hub.open();
  watch(later, { previous: true, from });
  for (const stream of [live, later]) {
    const outputs = await drain(stream);
    expect(keysOf(outputs).length).toBe(40);
    const events = outputs.flatMap((output) => output.kind === "events" ? output.events : []);
    expect(events.filter(({ previous }) => previous !== undefined).length).toBe(32);
  }
});

test("a watch of a future revision begins there", async () => {
  using test = new TestStore();
  using stream = test.hub.open();
  watch(stream, { from: 4n });
  for (const name of names(0, 4)) test.put(name);
  expect(keysOf(await drain(stream))).toEqual(["k2", "k3"]);
});

test("the response to a progress request follows all earlier events", async () => {
  using test = new TestStore();
  for (const name of names(0, 3)) test.put(name);
  using stream = test.hub.open();
  watch(stream, { from: 2n });
  stream.requestProgress();
  const outputs = await drain(stream);
  expect(outputs.map(({ kind }) => kind)).toEqual(["created", "events", "progress"]);
  expect(outputs.at(-1)).toEqual({ kind: "progress", id: -1n, revision: 4n });
});

test("idle watches receive progress notifications every ten minutes, if requested", async () => {
  using test = new TestStore();
  using stream = test.hub.open();
  watch(stream, { id: 1n, progress: true });
  watch(stream, { id: 2n });
  test.put("elsewhere");
  await drain(stream);
  await test.clock.advance(600_000);
  expect(await drain(stream)).toEqual([{ kind: "progress", id: 1n, revision: 2n }]);
  test.put("k");
  expect(keysOf(await drain(stream))).toEqual(["k", "k"]);
  await test.clock.advance(600_000);
  expect(await drain(stream)).toEqual([]);
  // Idle again: the next notification follows.
  await test.clock.advance(600_000);
  expect(await drain(stream)).toEqual([{ kind: "progress", id: 1n, revision: 3n }]);
});

test("a cancelled watch receives nothing more, and its id can be reused", async () => {
  using test = new TestStore();
  using stream = test.hub.open();
  watch(stream, { id: 9n });
  watch(stream, { id: 9n });
  stream.cancel(9n);
  stream.cancel(10n);
  test.put("k");
  watch(stream, { id: 9n });
  expect((await drain(stream)).map(({ kind }) => kind))
    .toEqual(["created", "refused", "cancelled", "created"]);
});

test("the end of a stream releases its reader", async () => {
  using test = new TestStore();
  const stream = test.hub.open();
  const next = stream.next();
  stream[Symbol.dispose]();
  expect(await next).toBeUndefined();
});

test("limits the watches of all streams to 20 000", async () => {
  using test = new TestStore();
  using first = test.hub.open();
  using second = test.hub.open();
  for (let number = 0; number < 19_999; number++) watch(first);
  watch(second);
  watch(second);
  first.cancel(5n);
  watch(second);
  expect((await drain(second)).map(({ kind }) => kind)).toEqual(["created", "refused", "created"]);
});

test("limits the keys of the watches of all streams to 32 MiB", async () => {
  using test = new TestStore();
  using first = test.hub.open();
  using second = test.hub.open();
  const large = (stream: WatchStream, id: bigint) =>
    stream.create({
      range: { start: new Uint8Array(1 << 20), end: new Uint8Array(1 << 20).fill(1) },
      startRevision: 0n,
      id,
      previous: false,
      progress: false,
      without: new Set(),
    });
  for (let id = 1n; id <= 16n; id++) large(first, id);
  large(second, 1n);
  first.cancel(5n);
  large(second, 1n);
  expect((await drain(second)).map(({ kind }) => kind)).toEqual(["refused", "created"]);
});

test("keys count towards the limit of the queue, too", async () => {
  using test = new TestStore();
  using stream = test.hub.open();
  watch(stream);
  const long = "k".repeat(1 << 20);
  for (let number = 0; number < 10; number++) test.put(`${long}${number}`);
  const outputs = await drain(stream);
  expect(outputs[1]).toMatchObject({ kind: "events", events: { length: 4 } });
  expect(keysOf(outputs).length).toBe(10);
});

test("a client that does not read receives no progress notifications", async () => {
  using test = new TestStore();
  using stream = test.hub.open();
  watch(stream, { id: 1n, progress: true });
  await drain(stream);
  const reading = pending.get(stream);
  pending.delete(stream);
  await test.clock.advance(6_000_000);
  expect(await reading).toEqual({ kind: "progress", id: 1n, revision: 1n });
  expect(await drain(stream)).toHaveLength(1);
});

test("a client that sends requests without reading the responses has to wait", async () => {
  using test = new TestStore();
  using stream = test.hub.open();
  for (let number = 0; number < 2_000; number++) {
    await stream.room();
    watch(stream, { id: 1n });
  }
  let hasRoom = false;
  const room = stream.room().then(() => hasRoom = true);
  await new Promise((resolve) => setImmediate(resolve));
  expect(hasRoom).toBe(false);
  await stream.next();
  await room;
  const crowded = test.hub.open();
  for (let number = 0; number < 2_000; number++) watch(crowded, { id: 1n });
  const closed = crowded.room();
  crowded[Symbol.dispose]();
  await closed;
});

test(
  "the events of all streams for clients that do not read are limited, and none is missed",
  async () => {
    using test = new TestStore();
    using streams = new DisposableStack();
    const slow = Array.from({ length: 70 }, () => streams.use(test.hub.open()));
    for (const [index, stream] of slow.entries()) {
      const range = keyInterval(bytes(`k${index}`), new Uint8Array());
      const rest = { id: 0n, startRevision: 0n, previous: false, progress: false };
      stream.create({ ...rest, range, without: new Set() });
    }
    using waiting = test.hub.open();
    watch(waiting);
    expect(await drain(waiting)).toMatchObject([{ kind: "created" }]);
    for (const index of slow.keys()) test.put(`k${index}`, "x".repeat(1 << 20));
    expect(test.hub.heldBytes).toBeLessThanOrEqual(64 << 20);
    const small = test.put("k-small", "x");
    expect(test.hub.heldBytes).toBeLessThanOrEqual((64 << 20) + (16 << 10));
    expect((await drain(waiting)).at(-1)).toMatchObject({ kind: "events", revision: small });
    for (const [index, stream] of slow.entries()) {
      expect(keysOf(await drain(stream))).toEqual([`k${index}`]);
    }
    expect(test.hub.heldBytes).toBe(0);
    streams.dispose();
    waiting[Symbol.dispose]();
    expect(test.hub.heldBytes).toBe(0);
  },
  60_000,
);
