/** The server's limits for its clients. */

import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { connect as connectSocket } from "node:net";
import { Datastore } from "../../../../src/datastore/datastore.ts";
import type { PoolSizes } from "../../../../src/datastore/mvcc/memory_pool.ts";
import { frame } from "../../../../src/etcd/api/message_frames.ts";
import type { ServerLimits } from "../../../../src/datastore/rpc/server_limits.ts";
import { WATCH_PATH } from "../../../../src/datastore/rpc/watch_service.ts";
import { RangeRequestSchema } from "../../../../src/etcd/api/rpc_pb.ts";
import { systemClock } from "../../../../src/base/clock.ts";
import { collectingLog, type LogRecord } from "../../../support/collecting_log.ts";
import { callHeaders, FrameType, http2Frame, RawHttp2 } from "../../../support/raw_http2.ts";
import { eventually } from "../../../support/wait.ts";
import { bytes } from "../fixture.ts";

const RANGE_PATH = "/etcdserverpb.KV/Range";
const ENHANCE_YOUR_CALM = 11;

/** A datastore for one test. */
class TestServer implements AsyncDisposable {
  readonly datastore: Datastore;
  readonly port: number;
  readonly records: readonly LogRecord[];
  readonly #directory: string;

  static async start(limits: Partial<ServerLimits>, responsePool?: PoolSizes): Promise<TestServer> {
    const directory = mkdtempSync("/dev/shm/datastore-test-");
    const { log, records } = collectingLog();
    const datastore = await Datastore.start({
      directory,
      host: "127.0.0.1",
      port: 0,
      progressNotifyMs: 600_000,
      clock: systemClock,
      log,
      limits,
      responsePool,
    });
    return new TestServer(datastore, directory, records);
  }

  private constructor(datastore: Datastore, directory: string, records: readonly LogRecord[]) {
    this.datastore = datastore;
    this.port = Number(new URL(datastore.url).port);
    this.records = records;
    this.#directory = directory;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.datastore[Symbol.asyncDispose]();
    rmSync(this.#directory, { recursive: true });
  }

  connect(localAddress?: string): ClientHttp2Session & Disposable {
    const { port } = this;
    const createConnection = () => connectSocket({ port, host: "127.0.0.1", localAddress });
    const session = connect(this.datastore.url, localAddress ? { createConnection } : {});
    session.on("error", () => {});
    return Object.assign(session, { [Symbol.dispose]: () => session.destroy() });
  }
}

function call(session: ClientHttp2Session, path: string, headers = {}): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  stream.on("error", () => {});
  return stream;
}

const rangeRequest = (key = "k") =>
  frame(toBinary(RangeRequestSchema, create(RangeRequestSchema, { key: bytes(key) })));

/** The status of a call, in the trailers or at once in the headers. */
async function statusOf(stream: ClientHttp2Stream): Promise<[status: string, message: string]> {
  const said: Record<string, unknown> = {};
  stream.on("response", (headers) => Object.assign(said, headers));
  stream.on("trailers", (headers) => Object.assign(said, headers));
  stream.resume();
  await new Promise((resolve) => stream.on("end", resolve));
  stream.close();
  return [`${said["grpc-status"]}`, decodeURIComponent(`${said["grpc-message"] ?? ""}`)];
}

async function rangeStatus(session: ClientHttp2Session): Promise<string> {
  const stream = call(session, RANGE_PATH);
  stream.end(rangeRequest());
  return (await statusOf(stream))[0];
}

test("limits the calls of a connection, and closes one that keeps opening more", async () => {
  await using server = await TestServer.start({ streamsPerConnection: 20 });
  using client = await RawHttp2.open(server.port);
  for (let stream = 1; stream < 2_000 && !client.isClosed; stream += 2) {
    await client.send(callHeaders(WATCH_PATH, stream));
  }
  await client.closed;
  expect(client.of(FrameType.headers).length).toBeLessThanOrEqual(20);
  using session = server.connect();
  expect(await rangeStatus(session)).toBe("0");
});

test("at the limit of all calls, connections with few calls are still served", async () => {
  await using server = await TestServer.start({ streams: 10, reservedStreams: 2 });
  using first = server.connect();
  using second = server.connect();
  const opened = (session: ClientHttp2Session) => {
    const stream = call(session, WATCH_PATH);
    return new Promise<ClientHttp2Stream>((resolve) => {
      stream.on("response", () => resolve(stream));
    });
  };
  const open = await Promise.all(Array.from({ length: 10 }, () => opened(first)));
  const tooMany = { status: "8", text: "etcdserver: too many requests" };
  const refusal = async (session: ClientHttp2Session) => {
    const stream = call(session, RANGE_PATH);
    stream.end(rangeRequest());
    const [status, text] = await statusOf(stream);
    return { status, text };
  };
  expect(await refusal(first)).toEqual(tooMany);
  const reserved = [await opened(second)];
  expect(await rangeStatus(second)).toBe("0");
  reserved.push(await opened(second));
  expect(await refusal(second)).toEqual(tooMany);
  for (const stream of [...open.slice(0, 3), ...reserved]) {
    const ended = new Promise((resolve) => stream.on("close", resolve));
    stream.close();
    await ended;
  }
  await eventually("a call is served", 10_000, async () => await rangeStatus(first) === "0");
  expect(server.records.filter(({ level }) => level === "warn").map(({ msg }) => msg))
    .toEqual([
      "limit of 10 concurrent calls reached; rejecting further calls of connections that have many",
    ]);
});

test("closes a connection of the address that has most of them for another address", async () => {
  await using server = await TestServer.start({ connections: 3 });
  const open = async (session: ClientHttp2Session) => {
    const stream = call(session, WATCH_PATH);
    await new Promise((resolve) => stream.on("response", resolve));
    return stream;
  };
  using first = server.connect();
  using second = server.connect();
  using third = server.connect();
  const oldest = await open(first);
  const kept = [await open(second), await open(third)];
  const gone = new Promise((resolve) => oldest.on("close", resolve));
  using other = server.connect("127.0.0.2");
  kept.push(await open(other));
  await gone;
  using one = server.connect();
  await new Promise((resolve) => one.on("close", resolve));
  expect(kept.map(({ closed }) => closed)).toEqual([false, false, false]);
});

test("closes the connection that has been idle for longest when there are too many", async () => {
  await using server = await TestServer.start({ connections: 3 });
  using busy = server.connect();
  const watch = call(busy, WATCH_PATH);
  await new Promise((resolve) => watch.on("response", resolve));
  using idle = await RawHttp2.open(server.port);
  await eventually("it is accepted", 10_000, () => idle.frames.length > 0);
  using second = server.connect();
  expect(await rangeStatus(second)).toBe("0");
  using third = server.connect();
  expect(await rangeStatus(third)).toBe("0");
  await idle.closed;
  for (const session of [second, third]) {
    const stream = call(session, WATCH_PATH);
    await new Promise((resolve) => stream.on("response", resolve));
  }
  using refused = await RawHttp2.open(server.port);
  await refused.closed;
  expect(watch.closed).toBe(false);
});

/** Number of sockets that the process has for connections to this port. */
function heldSockets(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const isHeld = (line: string) => {
    const [, address = "", , state, , , , , , inode] = line.trim().split(/\s+/);
    // 0A is LISTEN; a socket that only the kernel is still closing has no inode.
    return address.endsWith(local) && state !== "0A" && inode !== "0";
  };
  return readFileSync("/proc/self/net/tcp", "utf8").split("\n").filter(isHeld).length;
}

test("closes the connection of a client that has vanished", async () => {
  await using server = await TestServer.start({ pingIntervalMs: 100, pingTimeoutMs: 100 });
  using stack = new DisposableStack();
  const clients = await Promise.all(
    Array.from(
      { length: 5 },
      async () => stack.use(await RawHttp2.open(server.port, { hasVanished: true })),
    ),
  );
  await clients[0]?.send(callHeaders(WATCH_PATH, 1));
  await eventually(
    "they are accepted",
    20_000,
    () => clients.every(({ frames }) => frames.length > 0),
  );
  await eventually("no socket is left", 20_000, () => heldSockets(server.port) === 0);
  using live = server.connect();
  expect(await rangeStatus(live)).toBe("0");
});

test("closes the connection of a request in frames of one byte", async () => {
  await using server = await TestServer.start({});
  for (const path of [RANGE_PATH, "/etcdserverpb.Lease/LeaseGrant"]) {
    using client = await RawHttp2.open(server.port);
    const one = http2Frame(FrameType.data, { stream: 1, payload: Uint8Array.of(0) });
    await client.send(callHeaders(path, 1));
    await client.send(http2Frame(FrameType.data, { stream: 1, payload: Buffer.of(0, 0, 1, 0, 0) }));
    const frames = Buffer.concat(Array.from({ length: 100 }, () => one));
    for (let sent = 0; sent < 30_000 && !client.isClosed; sent += 100) {
      await client.send(frames);
    }
    await client.closed;
    expect(client.goawayCodes).toContain(ENHANCE_YOUR_CALM);
  }
});

test("accepts a stream of many small messages", async () => {
  await using server = await TestServer.start({});
  using session = server.connect();
  const stream = call(session, WATCH_PATH);
  for (let number = 0; number < 3_000; number++) stream.write(frame(new Uint8Array()));
  stream.end();
  expect((await statusOf(stream))[0]).toBe("0");
});

test("a missing or incomplete request times out", async () => {
  await using server = await TestServer.start({ requestMs: 50, firstRequestMs: 400 });
  using session = server.connect();
  const nothing = new Uint8Array();
  const part = Uint8Array.of(0, 0, 0);
  const cases: [path: string, body: Uint8Array, seconds: number][] = [
    [RANGE_PATH, nothing, 0.05],
    [RANGE_PATH, part, 0.05],
    ["/etcdserverpb.Lease/LeaseLeases", nothing, 0.05],
    ["/etcdserverpb.Lease/LeaseKeepAlive", part, 0.05],
    ["/etcdserverpb.Lease/LeaseKeepAlive", nothing, 0.4],
    [WATCH_PATH, part, 0.05],
    [WATCH_PATH, nothing, 0.4],
  ];
  for (const [path, body, seconds] of cases) {
    const stream = call(session, path);
    stream.write(body);
    const message = `no complete message within ${seconds} s`;
    expect([path, ...await statusOf(stream)]).toEqual([path, "4", message]);
  }
});

test("limits the incomplete requests of all clients together", async () => {
  await using server = await TestServer.start({ requestBytes: 1 << 20 });
  using session = server.connect();
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(2_000_000, 1);
  const held = call(session, RANGE_PATH);
  held.write(Buffer.concat([prefix, new Uint8Array(600_000)]));
  const refused = call(session, RANGE_PATH);
  refused.write(Buffer.concat([prefix, new Uint8Array(600_000)]));
  const status = await Promise.race([statusOf(held), statusOf(refused)]);
  expect(status).toEqual(["8", "etcdserver: too many requests"]);
  expect(await rangeStatus(session)).toBe("0");
});

test("ignores a deadline in a hundred years", async () => {
  await using server = await TestServer.start({});
  using session = server.connect();
  const warnings: Error[] = [];
  const warned = (warning: Error) => warnings.push(warning);
  process.on("warning", warned);
  using cleanup = new DisposableStack();
  cleanup.defer(() => process.off("warning", warned));
  for (const timeout of ["99999999H", "2562047H", "99999999M", "99999999S"]) {
    const stream = call(session, "/etcdserverpb.Lease/LeaseLeases", { "grpc-timeout": timeout });
    stream.end(frame(new Uint8Array()));
    expect((await statusOf(stream))[0]).toBe("0");
  }
  expect(warnings).toEqual([]);
});

test(
  "closes the stream of a client that does not read, and gives its memory to others",
  async () => {
    const pool = { smallBytes: 1 << 20, largeBytes: 5 << 20 };
    await using server = await TestServer.start({ stallMs: 100 }, pool);
    server.datastore.store.write((transaction) => {
      for (let number = 0; number < 3; number++) {
        const value = new Uint8Array(1 << 20);
        transaction.put({ key: bytes(`k${number}`), value, lease: 0n }, undefined);
      }
    });
    const all = create(RangeRequestSchema, { key: bytes("k"), rangeEnd: bytes("l") });
    const request = frame(toBinary(RangeRequestSchema, all));
    // Each holds more than half of the memory for responses.
    for (let number = 0; number < 2; number++) {
      using client = await RawHttp2.open(server.port);
      const payload = http2Frame(FrameType.data, { flags: 1, stream: 1, payload: request });
      await client.send(callHeaders(RANGE_PATH, 1), payload);
      await eventually(
        "the stream is cut off",
        20_000,
        () => client.of(FrameType.rstStream, 1).length > 0,
      );
    }
    using session = server.connect();
    expect(await rangeStatus(session)).toBe("0");
  },
  60_000,
);
