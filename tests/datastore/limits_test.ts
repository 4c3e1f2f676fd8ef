/** Many clients, large requests, a full disk. */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { mkdtempSync, readFileSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Compare_CompareResult, Compare_CompareTarget } from "../../src/etcd/api/rpc_pb.ts";
import { EtcdServer } from "../support/etcd_server.ts";
import { eventually } from "../support/wait.ts";
import { ComparedWatches } from "./compared_watches.ts";
import { RawClient } from "./raw_client.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const WATCHES = 1_000;
let server: EtcdServer;

beforeAll(async () => {
  server = await EtcdServer.start({ kind: "datastore" });
});

afterAll(() => server[Symbol.asyncDispose]());

async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "done";
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    return `${Code[error.code]}: ${error.rawMessage}`;
  }
}

test(
  `${WATCHES} watches on one stream, and on as many streams, each receive everything`,
  async () => {
    using writer = new RawClient(server.url);
    using reader = new RawClient(server.url);
    using shared = new ComparedWatches(reader);
    using manyStreams = new DisposableStack();
    const request = { key: encode("/fan/"), rangeEnd: encode("/fan0") };
    const ids = Array.from({ length: WATCHES }, (_, index) => BigInt(index + 1));
    const watches: [ComparedWatches, bigint][] = ids.map((id) => [shared, id]);
    await Promise.all(ids.map((id) => shared.create(id, request)));
    for (const id of ids) {
      const alone = manyStreams.use(new ComparedWatches(reader));
      watches.push([alone, id]);
    }
    await Promise.all(watches.slice(WATCHES).map(([one, id]) => one.create(id, request)));
    let revision = 0n;
    for (let number = 0; number < 20; number++) {
      const { header } = await writer.kv.put({ key: encode(`/fan/${number}`) });
      revision = header?.revision ?? 0n;
    }
    await Promise.all(watches.map(([one, id]) => one.reached(id, revision)));
    const received = new Set(watches.map(([one, id]) => one.of(id).join("\n")));
    expect(received.size).toBe(1);
    expect([...received][0]?.split("\n").length).toBe(21);
  },
  180_000,
);

test("a too large request is rejected, and the next request is served", async () => {
  using client = new RawClient(server.url);
  const put = (size: number) =>
    codeOf(client.kv.put({ key: encode("k"), value: new Uint8Array(size) }));
  expect(await put(1 << 20)).toBe("done");
  expect(await put(1_600_000)).toBe("InvalidArgument: etcdserver: request is too large");
  expect(await put(8 << 20)).toStartWith("ResourceExhausted: ");
  expect(await put(1)).toBe("done");
});

test("a too large request does not block the connection's other streams", async () => {
  using client = new RawClient(server.url);
  using watches = new ComparedWatches(client);
  await watches.create(1n, { key: encode("w") });
  const large = client.kv.put({ key: encode("k"), value: new Uint8Array(8 << 20) });
  expect(await codeOf(large)).toStartWith("ResourceExhausted: ");
  for (const id of [2n, 3n, 4n]) await watches.create(id, { key: encode("w") });
});

/** The peak of the memory of a process. */
function peakBytes(pid: number): number {
  const [, kib] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) * 1024;
}

test("small requests cost no more memory than the limit for responses", async () => {
  await using server = await EtcdServer.start({ kind: "datastore" });
  using client = new RawClient(server.url);
  const value = new Uint8Array(1 << 20);
  for (let number = 0; number < 20; number++) {
    await client.kv.put({ key: encode(`large/${number}`), value });
  }
  const everything = { key: encode("large/"), rangeEnd: encode("large0") };
  const ranges = (count: number) =>
    Array.from({ length: count }, () => ({
      request: { case: "requestRange" as const, value: everything },
    }));
  const tooLarge = /^ResourceExhausted: grpc: trying to send message larger than max \(\d+ vs/;
  const comparing = Array.from({ length: 100 }, () => ({
    ...everything,
    target: Compare_CompareTarget.VALUE,
    targetUnion: { case: "value" as const, value: new Uint8Array() },
    result: Compare_CompareResult.NOT_EQUAL,
  }));
  const nested = { request: { case: "requestTxn" as const, value: { success: ranges(100) } } };
  for (const txn of [{ success: ranges(128) }, { success: [nested] }, { compare: comparing }]) {
    expect(await codeOf(client.kv.txn(txn))).toMatch(tooLarge);
  }
  expect((await client.kv.txn({ success: ranges(1) })).responses.length).toBe(1);
  const keyCounts = await Promise.all(
    Array.from({ length: 20 }, async () => (await client.kv.range(everything)).kvs.length),
  );
  expect(new Set(keyCounts)).toEqual(new Set([20]));
  const outcomes = await Promise.all(
    Array.from({ length: 20 }, () => codeOf(client.kv.txn({ success: ranges(1) }))),
  );
  expect(new Set(outcomes)).toEqual(new Set(["done"]));
  await client.lease.leaseGrant({ ID: 1n, TTL: 600n });
  for (let number = 0; number < 40; number++) {
    await client.kv.put({ key: encode(`${number}`.padEnd(1 << 20, "x")), lease: 1n });
  }
  expect(await codeOf(client.lease.leaseTimeToLive({ ID: 1n, keys: true }))).toMatch(tooLarge);
  expect((await client.lease.leaseTimeToLive({ ID: 1n })).grantedTTL).toBe(600n);
  const prevKv = true;
  const deleted = await client.kv.deleteRange({ ...everything, prevKv });
  expect(deleted.prevKvs.length).toBe(20);
  // The pool of responses, and memory that the runtime has not released yet.
  expect(peakBytes(server.pid)).toBeLessThan(2 ** 31);
}, 180_000);

test("a response with the subnets of 60 000 nodes is complete, and has one revision", async () => {
  await using server = await EtcdServer.start({ kind: "datastore" });
  using client = new RawClient(server.url);
  const value = new Uint8Array(250);
  const keys = Array.from({ length: 60_000 }, (_, index) => `subnets/${100_000 + index}`);
  for (let start = 0; start < keys.length; start += 128) {
    await client.kv.txn({
      success: keys.slice(start, start + 128).map((key) => ({
        request: { case: "requestPut" as const, value: { key: encode(key), value } },
      })),
    });
  }
  const prefix = { key: encode("subnets/"), rangeEnd: encode("subnets0") };
  const { kvs, count, header } = await client.kv.range(prefix);
  expect(kvs.map(({ key }) => new TextDecoder().decode(key))).toEqual(keys);
  expect(count).toBe(60_000n);
  const counted = await client.kv.range({ ...prefix, revision: header?.revision ?? 0n, limit: 9n });
  expect([counted.kvs.length, counted.more, counted.count]).toEqual([9, true, 60_000n]);
}, 180_000);

test("invalid data ends only the connection of the client that sends it", async () => {
  using client = new RawClient(server.url);
  await client.kv.put({ key: encode("k") });
  for (const rubbish of ["GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00", "x".repeat(70_000)]) {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: server.port,
      socket: { data() {}, close: () => resolve(), error: () => resolve() },
    });
    socket.write(rubbish);
    await Promise.race([closed, Bun.sleep(500)]);
    socket.end();
  }
  expect(await codeOf(client.kv.put({ key: encode("k") }))).toBe("done");
});

test(
  "a full disk is an error to the client, nothing is half written, and room ends it",
  async () => {
    using disk = new SmallDisk("6M");
    await using server = await EtcdServer.start({ kind: "datastore", directory: disk.path });
    using client = new RawClient(server.url);
    const value = new Uint8Array(100_000);
    await client.lease.leaseGrant({ ID: 7n, TTL: 600n });
    let last = 0;
    let failure = "done";
    while (failure === "done") {
      failure = await codeOf(
        client.kv.txn({
          success: [`a-${last + 1}`, `b-${last + 1}`].map((name) => ({
            request: { case: "requestPut" as const, value: { key: encode(name), value } },
          })),
        }),
      );
      if (failure === "done") last++;
    }
    expect(failure).toBe("ResourceExhausted: etcdserver: mvcc: database space exceeded");
    expect(last).toBeGreaterThan(3);
    let small = 0;
    while (await codeOf(client.kv.put({ key: encode("small") })) === "done") small++;
    const renewal = async () => {
      for await (const _ of client.lease.leaseKeepAlive(once({ ID: 7n })));
    };
    expect(await codeOf(renewal())).toBe(failure);
    const assertWhole = async () => {
      const { kvs, header } = await client.kv.range({ key: encode("a"), rangeEnd: encode("c") });
      expect(kvs.length).toBe(2 * last);
      expect(header?.revision).toBe(BigInt(last + small + 1));
    };
    await assertWhole();
    const full = `cannot write ${disk.path}/data/datastore.sqlite: the disk is full (`;
    expect(server.logText().split(full).length).toBe(2);
    await server.stop("SIGKILL");
    await server.start();
    await assertWhole();
    disk.resize("32M");
    await eventually(
      "a write after there is room",
      30_000,
      async () => await codeOf(client.kv.put({ key: encode("c") })) === "done",
    );
  },
  180_000,
);

async function* once<T>(value: T): AsyncGenerator<T> {
  yield await Promise.resolve(value);
}

/** A tmpfs whose size can be changed. */
class SmallDisk implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "small-disk-"));

  constructor(size: string) {
    run("mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", this.path);
  }

  resize(size: string): void {
    run("mount", "-o", `remount,size=${size}`, this.path);
  }

  [Symbol.dispose](): void {
    run("umount", this.path);
    rmdirSync(this.path);
  }
}

function run(...command: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(command);
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
}
