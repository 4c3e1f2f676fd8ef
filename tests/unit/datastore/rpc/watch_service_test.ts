/** Watches on the wire. */

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { MemoryPool } from "../../../../src/datastore/mvcc/memory_pool.ts";
import { Datastore } from "../../../../src/datastore/datastore.ts";
import { type MessageWriter, readMessages } from "../../../../src/datastore/rpc/message_stream.ts";
import { frame } from "../../../../src/etcd/api/message_frames.ts";
import { serveWatches, WATCH_PATH } from "../../../../src/datastore/rpc/watch_service.ts";
import {
  type WatchCreateRequestSchema,
  WatchRequestSchema,
  type WatchResponse,
  WatchResponseSchema,
} from "../../../../src/etcd/api/rpc_pb.ts";
import { systemClock } from "../../../../src/base/clock.ts";
import { collectingLog } from "../../../support/collecting_log.ts";
import { bytes, TestStore, text } from "../fixture.ts";

const directory = mkdtempSync("/dev/shm/datastore-test-");
const { log, records } = collectingLog();
let datastore: Datastore;
let session: ClientHttp2Session;

beforeAll(async () => {
  datastore = await Datastore.start({
    directory,
    host: "127.0.0.1",
    port: 0,
    progressNotifyMs: 600_000,
    clock: systemClock,
    log,
  });
  session = connect(datastore.url);
});

afterAll(async () => {
  session.destroy();
  await datastore[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

function call(contentType = "application/grpc"): ClientHttp2Stream {
  return session.request({
    ":method": "POST",
    ":path": WATCH_PATH,
    "content-type": contentType,
    te: "trailers",
  });
}

function createWatch(
  stream: ClientHttp2Stream,
  request: MessageInitShape<typeof WatchCreateRequestSchema>,
): void {
  const message = create(WatchRequestSchema, {
    requestUnion: { case: "createRequest", value: { key: bytes("k"), ...request } },
  });
  stream.write(frame(toBinary(WatchRequestSchema, message)));
}

async function* responses(stream: ClientHttp2Stream): AsyncGenerator<WatchResponse> {
  for await (const message of readMessages(stream)) {
    yield fromBinary(WatchResponseSchema, message);
  }
}

async function next(stream: AsyncGenerator<WatchResponse>): Promise<WatchResponse> {
  return (await stream.next()).value as WatchResponse;
}

/** The status of a call, in the trailers or at once in the headers. */
async function statusOf(stream: ClientHttp2Stream): Promise<[status: unknown, message: unknown]> {
  const said: Record<string, unknown> = {};
  stream.on("response", (headers) => Object.assign(said, headers));
  stream.on("trailers", (headers) => Object.assign(said, headers));
  stream.resume();
  await new Promise((resolve) => stream.on("end", resolve));
  stream.close();
  return [said["grpc-status"], decodeURIComponent(`${said["grpc-message"] ?? ""}`)];
}

test("each stream has its own ids, and previous values only if requested", async () => {
  datastore.putIfAbsent("k1", "before");
  const requests = [{ watchId: 0n }, { watchId: 7n }, { watchId: 0n }, {
    watchId: 0n,
    prevKv: true,
  }];
  const streams = await Promise.all(requests.map(async (request) => {
    const stream = call();
    createWatch(stream, { ...request, rangeEnd: bytes("l") });
    const received = responses(stream);
    expect((await next(received)).created).toBe(true);
    return { stream, received };
  }));
  datastore.store.write((transaction) => {
    const entry = { key: bytes("k1"), value: bytes("after"), lease: 0n };
    transaction.put(entry, transaction.get(entry.key));
  });
  const first = await Promise.all(streams.map(async ({ received }) => {
    const { watchId, header, events } = await next(received);
    const [event] = events;
    return [
      watchId,
      header?.revision,
      event?.kv?.modRevision,
      text(event?.kv?.value ?? bytes("none")),
      text(event?.prevKv?.value ?? bytes("none")),
    ];
  }));
  expect(first).toEqual([
    [0n, 3n, 3n, "after", "none"],
    [7n, 3n, 3n, "after", "none"],
    [0n, 3n, 3n, "after", "none"],
    [0n, 3n, 3n, "after", "before"],
  ]);
  const ends = streams.map(({ stream }) => new Promise((resolve) => stream.on("close", resolve)));
  for (const { stream } of streams) stream.end();
  for (const { received } of streams) expect((await received.next()).done).toBe(true);
  await Promise.all(ends);
});

test("an invalid request ends only its own stream, with the reason", async () => {
  const garbage = call();
  garbage.write(frame(Uint8Array.of(0xff)));
  expect((await statusOf(garbage))[0]).toBe("3");
  const compressed = call();
  compressed.write(Uint8Array.of(1, 0, 0, 0, 0));
  expect(await statusOf(compressed))
    .toEqual(["12", "flanneld datastore does not support compressed messages"]);
  expect(await statusOf(call("application/grpc+json")))
    .toEqual(["12", "flanneld datastore does not implement etcdserverpb.Watch.Watch"]);
  const stream = call();
  createWatch(stream, {});
  expect((await next(responses(stream))).created).toBe(true);
  stream.close();
  expect(records.filter(({ level }) => level === "error")).toEqual([]);
});

test("all watches of a past large value receive it, even with little memory", async () => {
  using test = new TestStore();
  test.put("k", "x".repeat(1_400_000));
  const { hub, storage } = test;
  const pool = new MemoryPool({ smallBytes: 1 << 20, largeBytes: 4 << 20 });
  const message = create(WatchRequestSchema, {
    requestUnion: { case: "createRequest", value: { key: bytes("k"), startRevision: 2n } },
  });
  const watch = (peer: string) => {
    const { promise: sent, resolve } = Promise.withResolvers<number>();
    let end = () => {};
    const writer = {
      peer,
      onClose: (callback: () => void) => end = callback,
      send: () => undefined,
      sendAll: (parts: readonly Uint8Array[]) => {
        resolve(parts.reduce((sum, { length }) => sum + length, 0));
        return Promise.resolve();
      },
    };
    async function* messages() {
      yield toBinary(WatchRequestSchema, message);
      await sent;
    }
    const served = serveWatches(
      { hub, storage, pool },
      messages(),
      writer as unknown as MessageWriter,
    );
    return { sent, close: () => (end(), served) };
  };
  const watches = Array.from({ length: 12 }, (_, index) => watch(`client ${index % 6}`));
  for (const { sent } of watches) expect(await sent).toBeGreaterThan(1_400_000);
  await Promise.all(watches.map(({ close }) => close()));
});
