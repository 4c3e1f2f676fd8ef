/** A migration while keys are continuously written, changed and deleted. */

import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { readDump } from "../../src/datastore/transfer/dump.ts";
import { migrate } from "../../src/datastore/transfer/migrate.ts";
import { RemoteEtcd, type RemoteEtcdOptions } from "../../src/datastore/transfer/remote_etcd.ts";
import { removeEntries } from "../../src/datastore/transfer/restore.ts";
import { EtcdServer } from "../support/etcd_server.ts";
import { RawClient } from "./raw_client.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const remoteOf = (url: string, more: Partial<RemoteEtcdOptions> = {}) =>
  new RemoteEtcd({
    endpoints: [url],
    caFile: "",
    certFile: "",
    keyFile: "",
    username: "",
    password: "",
    flagPrefix: "--to-",
    ...more,
  }, { clock: systemClock, signal: new AbortController().signal });

/** All keys of a store, in order. */
const everything = async ({ kv }: RawClient) =>
  (await kv.range({ key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) })).kvs;

/** Runs a function once, after the report of the first copy. */
function afterCopy(
  from: RemoteEtcd,
  lines: readonly string[],
  action: () => Promise<unknown>,
): void {
  let acting: Promise<unknown> | undefined;
  const call = from.call.bind(from);
  from.call = async (operation, method, message) => {
    if (lines.length === 1) await (acting ??= action());
    return await call(operation, method, message);
  };
}

test("changes and deletions during the copy are copied, too", async () => {
  await using source = await EtcdServer.start({ kind: "datastore" });
  await using target = await EtcdServer.start({ kind: "etcd" });
  using client = new RawClient(source.url);
  using copied = new RawClient(target.url);
  await client.lease.leaseGrant({ ID: 5n, TTL: 900n });
  for (let number = 0; number < 300; number++) {
    await client.kv.put({ key: encode(`key-${number}`), value: encode("old"), lease: 5n });
  }
  using from = remoteOf(source.url);
  using to = remoteOf(target.url);
  const lines: string[] = [];
  const changes = async () => {
    await client.kv.put({ key: encode("key-1"), value: encode("new") });
    await client.kv.deleteRange({ key: encode("key-2") });
    await client.kv.put({ key: encode("key-300"), value: encode("late") });
  };
  afterCopy(from, lines, changes);
  await migrate(from, to, { overwrite: false, report: (line) => lines.push(line) });
  expect(lines).toEqual([
    `copied 300 keys from ${source.url} to ${target.url}`,
    "copied 2 changes and 1 deletions made in the meantime",
    "verified: all 300 keys are equal, with 1 leases",
  ]);
  const read = async (one: RawClient) =>
    (await everything(one)).map(({ key, value, lease }) => ({ key, value, lease }));
  expect(await read(copied)).toEqual(await read(client));
});

test("a second run renews leases that were renewed in the source", async () => {
  await using source = await EtcdServer.start({ kind: "datastore" });
  await using target = await EtcdServer.start({ kind: "etcd" });
  using client = new RawClient(source.url);
  using copied = new RawClient(target.url);
  // The state ten minutes after a run: one of two nodes has renewed its lease since.
  await client.lease.leaseGrant({ ID: 5n, TTL: 1_200n });
  await client.lease.leaseGrant({ ID: 6n, TTL: 300n });
  for (const ID of [5n, 6n]) await copied.lease.leaseGrant({ ID, TTL: 900n });
  for (const { kv } of [client, copied]) {
    await kv.put({ key: encode("renewed"), lease: 5n });
    await kv.put({ key: encode("gone"), lease: 6n });
  }
  await Bun.sleep(2_100);
  using from = remoteOf(source.url);
  using to = remoteOf(target.url);
  const lines: string[] = [];
  await migrate(from, to, { overwrite: false, report: (line) => lines.push(line) });
  expect(lines).toEqual([
    `copied 0 keys from ${source.url} to ${target.url}; 2 were already present`,
    "renewed 1 leases that had less time left there, the shortest to 900 s",
    "verified: all 2 keys are equal, with 2 leases",
  ]);
  const timeLeft = async (ID: bigint) => (await copied.lease.leaseTimeToLive({ ID })).TTL;
  // Both were granted together; the renewed one now has two seconds more.
  const renewed = await timeLeft(5n);
  expect(renewed - await timeLeft(6n)).toBeGreaterThanOrEqual(2n);
});

test("a second run copies newer keys of the source and keeps those of the target", async () => {
  await using source = await EtcdServer.start({ kind: "datastore" });
  await using target = await EtcdServer.start({ kind: "etcd" });
  using client = new RawClient(source.url);
  using copied = new RawClient(target.url);
  using from = remoteOf(source.url);
  using to = remoteOf(target.url);
  const put = async ({ kv, lease }: RawClient, key: string, value: string, ID = 0n) => {
    if (ID !== 0n) await lease.leaseGrant({ ID, TTL: 900n });
    await kv.put({ key: encode(key), value: encode(value), lease: ID });
  };
  const contents = async (one: RawClient) =>
    (await everything(one)).map(({ key, value, lease }) =>
      `${decode(key)}=${decode(value)} ${lease}`
    );
  const run = async (overwrite = false) => {
    const lines: string[] = [];
    await migrate(from, to, { overwrite, report: (line) => lines.push(line) })
      .catch((error: Error) => lines.push(error.message));
    return lines;
  };
  await put(client, "config", "first");
  await put(client, "moves", "node", 1n);
  await put(client, "stays", "node", 2n);
  await run();
  // Go flannel renews a lease by writing the key again with another lease.
  await put(copied, "moves", "node", 11n);
  await put(client, "stays", "node", 12n);
  await put(client, "stays", "node", 22n);
  await put(client, "config", "second");
  const way = `from ${source.url} to ${target.url}`;
  expect(await run()).toEqual([
    `copied 2 keys ${way}; kept 1 that are newer there`,
    "verified: 2 keys are equal and 1 newer, with 2 leases",
  ]);
  expect(await contents(copied)).toEqual(["config=second 0", "moves=node 11", "stays=node 22"]);

  // Changed in both stores: it is unknown which is newer.
  await put(client, "config", "third");
  await put(copied, "config", "other");
  await put(client, "stays", "node", 32n);
  expect(await run()).toEqual([
    `${target.url} has other values or leases for config; nothing was written; ` +
    "use --overwrite to replace them",
  ]);
  expect(await contents(copied)).toEqual(["config=other 0", "moves=node 11", "stays=node 22"]);
  expect((await run(true)).at(-1)).toBe("verified: 2 keys are equal and 1 newer, with 2 leases");
  expect(await contents(copied)).toEqual(["config=third 0", "moves=node 11", "stays=node 32"]);
});

test("the key of a node that has moved stays when its lease expires in the source", async () => {
  await using source = await EtcdServer.start({ kind: "datastore" });
  await using target = await EtcdServer.start({ kind: "etcd" });
  using client = new RawClient(source.url);
  using copied = new RawClient(target.url);
  using from = remoteOf(source.url);
  using to = remoteOf(target.url);
  // The state after an earlier run: one node has renewed its lease in the target, the other has
  // not.
  const times: [ID: bigint, key: string, targetSeconds: bigint][] = [
    [5n, "left", 900n],
    [6n, "moved", 86_400n],
  ];
  for (const [ID, key, TTL] of times) {
    await client.lease.leaseGrant({ ID, TTL: 900n });
    await copied.lease.leaseGrant({ ID, TTL });
    for (const { kv } of [client, copied]) await kv.put({ key: encode(key), lease: ID });
  }
  await client.kv.put({ key: encode("config") });
  const lines: string[] = [];
  const expire = () =>
    Promise.all([client.lease.leaseRevoke({ ID: 5n }), client.lease.leaseRevoke({ ID: 6n })]);
  afterCopy(from, lines, expire);
  await migrate(from, to, { overwrite: false, report: (line) => lines.push(line) });
  expect(lines).toEqual([
    `copied 1 keys from ${source.url} to ${target.url}; 2 were already present`,
    "copied 0 changes and 1 deletions made in the meantime",
    "verified: all 1 keys are equal, with 0 leases",
  ]);
  const keys = (await everything(copied)).map(({ key }) => decode(key));
  expect(keys).toEqual(["config", "moved"]);
});

test("it is unknown which version is newer after a compaction of the history", async () => {
  await using source = await EtcdServer.start({ kind: "datastore" });
  await using target = await EtcdServer.start({ kind: "etcd" });
  using client = new RawClient(source.url);
  using copied = new RawClient(target.url);
  using from = remoteOf(source.url);
  using to = remoteOf(target.url);
  const put = ({ kv }: RawClient, value: string) =>
    kv.put({ key: encode("key"), value: encode(value) });
  await put(client, "first");
  await put(copied, "first");
  const { header } = await put(client, "second");
  await client.kv.compact({ revision: header?.revision ?? 0n });
  const failure = await migrate(from, to, { overwrite: false, report: () => {} })
    .then(() => "no failure", (error: Error) => error.message);
  expect(failure).toContain("has other values or leases for key; nothing was written");
});

test("large values are copied and removed in requests that etcd accepts", async () => {
  await using source = await EtcdServer.start({ kind: "datastore" });
  await using target = await EtcdServer.start({ kind: "etcd" });
  using client = new RawClient(source.url);
  const sizes = [...Array.from({ length: 30 }, () => 100_000), 1_400_000, 1_400_000, 1];
  for (const [index, size] of sizes.entries()) {
    await client.kv.put({ key: encode(`key-${index}`), value: new Uint8Array(size).fill(index) });
  }
  using from = remoteOf(source.url);
  using to = remoteOf(target.url);
  const lines: string[] = [];
  await migrate(from, to, { overwrite: false, report: (line) => lines.push(line) });
  expect(lines.at(-1)).toBe("verified: all 33 keys are equal, with 0 leases");
  await removeEntries(to, (await readDump(from)).entries);
  using copied = new RawClient(target.url);
  const { count } = await copied.kv.range({ key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) });
  expect(count).toBe(0n);
});

test("rejects a source without keys, and names an unreachable store with its flag", async () => {
  await using empty = await EtcdServer.start({ kind: "datastore" });
  using from = remoteOf(empty.url);
  using to = remoteOf("https://127.0.0.1:1", { caFile: "/none" });
  // Not with `expect().rejects`: Bun blocks in it, and HTTP/2 stalls.
  const failure = (one: RemoteEtcd, other: RemoteEtcd) =>
    migrate(one, other, { overwrite: false, report: () => {} })
      .then(() => "no failure", (error: Error) => error.message);
  expect(await failure(from, to)).toBe(`nothing to copy: ${empty.url} has no keys`);
  expect(await failure(to, from)).toContain("/none");
});
