import { afterAll, beforeAll, expect, test } from "bun:test";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import { systemClock } from "../../src/base/clock.ts";
import { EtcdError } from "../../src/etcd/client/etcd_error.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer, freePorts } from "../support/etcd_server.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

let server: EtcdServer;
let client: EtcdClient;
const { log } = collectingLog();
const forever = new AbortController().signal;

beforeAll(async () => {
  server = await EtcdServer.start();
  client = new EtcdClient({ clock: systemClock, endpoints: [server.url], log });
});

afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function failure(promise: Promise<unknown>): Promise<EtcdError> {
  const error = await promise.then(() => undefined, (error) => error);
  if (!(error instanceof EtcdError)) throw new Error(`an EtcdError is due, not ${error}`);
  return error;
}

test("a transaction takes its success branch if all comparisons hold, or the other", async () => {
  const create = {
    compare: [{ key: "/txn/a", createRevision: 0n }],
    success: [{ put: { key: "/txn/a", value: "1" } }],
    failure: [{ range: { key: "/txn/a" } }],
  };
  const created = await client.transaction(create, forever);
  expect(created).toEqual({ succeeded: true, revision: created.revision, ranges: [[]] });
  const again = await client.transaction(create, forever);
  expect(again.succeeded).toBe(false);
  expect(again.ranges[0]?.[0]).toEqual({
    key: "/txn/a",
    value: "1",
    createRevision: created.revision,
    modRevision: created.revision,
    version: 1n,
    lease: 0n,
  });
  const replace = await client.transaction({
    compare: [{ key: "/txn/a", modRevision: created.revision }],
    success: [{ put: { key: "/txn/a", value: "2" } }, { delete: { key: "/txn/none" } }],
  }, forever);
  expect(replace).toMatchObject({ succeeded: true, ranges: [[], []] });
});

test("range reads one key, or those with a prefix and no others", async () => {
  const keys = ["/range/a", "/range/a0", "/range/b", "/range\u{10ffff}", "/rangf", "/range/ü"];
  const success = keys.map((key) => ({ put: { key, value: `value of ${key}` } }));
  const { revision } = await client.transaction({ compare: [], success }, forever);
  const keysOf = async (key: string, prefix: boolean) =>
    (await client.range({ key, prefix }, forever)).keyValues.map(({ key }) => key);
  expect(await keysOf("/range/a", false)).toEqual(["/range/a"]);
  expect(await keysOf("/range/a", true)).toEqual(["/range/a", "/range/a0"]);
  expect(await keysOf("/range/", true)).toEqual(["/range/a", "/range/a0", "/range/b", "/range/ü"]);
  expect(await keysOf("/range\u{10ffff}", true)).toEqual(["/range\u{10ffff}"]);
  expect(await keysOf("", true)).toEqual(expect.arrayContaining(keys));
  expect(await client.range({ key: "/none" }, forever)).toEqual({ keyValues: [], revision });
});

test("range and transaction leave the values out when only keys are asked for", async () => {
  const put = { put: { key: "/keys/a", value: "1" } };
  const range = { key: "/keys/", prefix: true, keysOnly: true };
  const result = await client.transaction(
    { compare: [], success: [put, { range }] },
    forever,
  );
  const { revision } = result;
  const found = {
    key: "/keys/a",
    value: "",
    createRevision: revision,
    modRevision: revision,
    version: 1n,
    lease: 0n,
  };
  expect(result.ranges[1]).toEqual([found]);
  expect((await client.range(range, forever)).keyValues).toEqual([found]);
});

test("a range of more than 4 MiB arrives whole", async () => {
  const value = "x".repeat(100_000);
  for (let number = 0; number < 80; number++) {
    const success = [{ put: { key: `/large/${number}`, value } }];
    await client.transaction({ compare: [], success }, forever);
  }
  const { keyValues } = await client.range({ key: "/large/", prefix: true }, forever);
  expect(keyValues.length).toBe(80);
  expect(keyValues.every((keyValue) => keyValue.value === value)).toBe(true);
});

test("a lease carries its keys until it is revoked", async () => {
  const lease = await client.grantLease({ ttlSeconds: 120 }, forever);
  expect(lease.ttlSeconds).toBe(120);
  const put = { put: { key: "/lease/a", value: "", lease: lease.id } };
  await client.transaction({ compare: [], success: [put] }, forever);
  expect((await client.range({ key: "/lease/a" }, forever)).keyValues[0]?.lease).toBe(lease.id);
  expect(await client.keepLeaseAlive(lease.id, forever)).toBe(120);
  const { remainingSeconds, grantedSeconds } = await client.leaseTimeToLive(lease.id, forever);
  expect(grantedSeconds).toBe(120);
  expect(remainingSeconds).toBeWithin(115, 121);
  await client.revokeLease(lease.id, forever);
  expect((await client.range({ key: "/lease/a" }, forever)).keyValues).toEqual([]);
  expect(await client.keepLeaseAlive(lease.id, forever)).toBe(0);
  expect((await client.leaseTimeToLive(lease.id, forever)).remainingSeconds).toBe(-1);
  // Absent already: as good as revoked.
  await client.revokeLease(lease.id, forever);
});

test("a lease is granted with the id asked for, and once", async () => {
  expect((await client.grantLease({ id: 0x1234n, ttlSeconds: 60 }, forever)).id).toBe(0x1234n);
  const error = await failure(client.grantLease({ id: 0x1234n, ttlSeconds: 60 }, forever));
  expect(error.message).toContain("cannot grant a lease in etcd: lease already exists");
  expect(error.mayHaveBeenApplied).toBe(false);
});

test("a member that does not listen is named in the error, which is an EtcdError", async () => {
  const [port] = await freePorts(2);
  const url = `http://127.0.0.1:${port}`;
  await using client = new EtcdClient({ clock: systemClock, endpoints: [url], log });
  const error = await failure(client.range({ key: "/a" }, forever));
  expect(error).toMatchObject({
    symptom: "refused",
    code: undefined,
    key: "/a",
    method: "etcdserverpb.KV/Range",
    endpoint: url,
  });
  expect(error.message).toBe(
    "cannot read /a in etcd: connection refused: does etcd run on this host? If it runs " +
      `elsewhere, name it with --etcd-endpoints (${url})`,
  );
  expect(error.cause).toBeInstanceOf(Error);
}, 10_000);

test("an etcd that restarts is waited for", async () => {
  await using server = await EtcdServer.start();
  // How long etcd takes to start is the machine's.
  const timing = { retryForMs: 30_000 };
  await using client = new EtcdClient({ clock: systemClock, endpoints: [server.url], log, timing });
  await client.range({ key: "/a" }, forever);
  await server.stop();
  const put = { compare: [], success: [{ put: { key: "/a", value: "" } }] };
  const [changed] = await Promise.all([client.transaction(put, forever), server.start()]);
  expect(changed.revision).toBe(2n);
}, 90_000);

test("a transaction whose answer is lost is not sent again, and the error says so", async () => {
  await using proxy = await TcpProxy.start(server.port);
  await using client = new EtcdClient({ clock: systemClock, endpoints: [proxy.url], log });
  await client.range({ key: "/a" }, forever);
  // The response's first byte cuts the connection: etcd made the change; the client cannot know.
  const put = { compare: [], success: [{ put: { key: "/ambiguous", value: "" } }] };
  proxy.swallowAnswers();
  const error = await failure(client.transaction(put, forever));
  expect(error.mayHaveBeenApplied).toBe(true);
  expect(error.message).toContain("cannot change /ambiguous in etcd: ");
  expect(error.message).toContain("it may have been carried out");
  const { keyValues } = await client.range({ key: "/ambiguous" }, forever);
  expect(keyValues[0]?.version).toBe(1n);
});

test("a read whose answer is lost is repeated", async () => {
  await using proxy = await TcpProxy.start(server.port);
  await using client = new EtcdClient({ clock: systemClock, endpoints: [proxy.url], log });
  await client.range({ key: "/a" }, forever);
  proxy.swallowAnswers();
  await client.range({ key: "/a" }, forever);
  expect(proxy.accepted).toBe(2);
});

test("a read that one member does not answer is answered by another", async () => {
  await using hanging = await TcpProxy.start(server.port);
  await using silent = await TcpProxy.start(server.port);
  silent.silence();
  const endpoints = [hanging.url, silent.url, server.url];
  // The first endpoint is preferred with this clock; each attempt takes longer than the retries
  // may.
  const clock = { ...systemClock, random: () => 0 };
  const timing = { attemptMs: 2_000, retryForMs: 200 };
  await using client = new EtcdClient({ endpoints, log, timing, clock });
  await client.range({ key: "/a" }, forever);
  hanging.silence();
  await client.range({ key: "/a" }, forever);
  expect([hanging.accepted, silent.accepted]).toEqual([1, 1]);
});

test("a call that is not answered ends at its deadline", async () => {
  await using proxy = await TcpProxy.start(server.port);
  const timing = { attemptMs: 1_000, retryForMs: 200 };
  await using client = new EtcdClient({ clock: systemClock, endpoints: [proxy.url], log, timing });
  await client.range({ key: "/a" }, forever);
  proxy.silence();
  const startMs = performance.now();
  const error = await failure(client.range({ key: "/a" }, forever));
  expect(error.reason).toBe("no response in time");
  // Well before the deadline that would hold otherwise, 5 s.
  expect(performance.now() - startMs).toBeLessThan(4000);
});

test("a connection that is not accepted is given up at the deadline", async () => {
  const timing = { attemptMs: 300, retryForMs: 200 };
  await using proxy = await TcpProxy.start(server.port);
  proxy.silence();
  await using client = new EtcdClient({ clock: systemClock, endpoints: [proxy.url], log, timing });
  const startMs = performance.now();
  await failure(client.range({ key: "/a" }, forever));
  expect(performance.now() - startMs).toBeLessThan(4000);
});

test("an aborted call throws the signal's reason at once", async () => {
  await using proxy = await TcpProxy.start(server.port);
  await using client = new EtcdClient({ clock: systemClock, endpoints: [proxy.url], log });
  await client.range({ key: "/a" }, forever);
  proxy.silence();
  const stop = new AbortController();
  const reason = new Error("shutting down");
  setTimeout(() => stop.abort(reason), 50);
  const startMs = performance.now();
  const thrown = await client.range({ key: "/a" }, stop.signal).catch((error: unknown) => error);
  expect(thrown).toBe(reason);
  expect(performance.now() - startMs).toBeLessThan(4000);
});

test("a closed client refuses calls and ends its watches", async () => {
  const client = new EtcdClient({ clock: systemClock, endpoints: [server.url], log });
  const events = client.watch("/closed/", forever)[Symbol.asyncIterator]();
  await events.next();
  const ended = events.next();
  await client[Symbol.asyncDispose]();
  expect((await ended).done).toBe(true);
  expect((await failure(client.range({ key: "/a" }, forever))).reason).toBe("closed");
});
