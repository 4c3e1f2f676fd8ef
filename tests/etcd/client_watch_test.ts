import { afterAll, beforeAll, expect, test } from "bun:test";
import { EtcdClient, type EtcdClientOptions } from "../../src/etcd/client/etcd_client.ts";
import type { EtcdWatch } from "../../src/etcd/client/etcd.ts";
import { systemClock } from "../../src/base/clock.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer } from "../support/etcd_server.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

let server: EtcdServer;
const { log } = collectingLog();

beforeAll(async () => {
  server = await EtcdServer.start();
});

afterAll(() => server[Symbol.asyncDispose]());

const forever = new AbortController().signal;

function newClient(options: Partial<EtcdClientOptions> = {}): EtcdClient {
  return new EtcdClient({ clock: systemClock, endpoints: [server.url], log, ...options });
}

/** Puts `prefix` + a number for each number, up to 100 keys at one revision. */
async function putNumbers(
  client: EtcdClient,
  prefix: string,
  { from = 0, to, perTransaction = 1 }: { from?: number; to: number; perTransaction?: number },
): Promise<void> {
  for (let first = from; first < to; first += perTransaction) {
    const count = Math.min(perTransaction, to - first);
    const success = Array.from({ length: count }, (_, index) => ({
      put: { key: `${prefix}${first + index}`, value: `${first + index}` },
    }));
    await client.transaction({ compare: [], success }, forever);
  }
}

async function compactAll(server: EtcdServer): Promise<void> {
  const status = JSON.parse(await server.etcdctl("endpoint", "status", "-w", "json"));
  await server.etcdctl("compact", String(status[0].Status.header.revision));
}

async function nextEvent(events: AsyncIterator<EtcdWatch>): Promise<EtcdWatch> {
  const { value, done } = await events.next();
  if (done) throw new Error("the watch has ended");
  return value;
}

test("a watch yields a snapshot, then puts and deletions in order", async () => {
  await using client = newClient();
  const stop = new AbortController();
  await putNumbers(client, "/order/", { to: 2 });
  await putNumbers(client, "/other/", { to: 2 });
  const events = client.watch("/order/", stop.signal)[Symbol.asyncIterator]();
  const snapshot = await nextEvent(events);
  if (snapshot.kind !== "snapshot") throw new Error(`a snapshot is first, not ${snapshot.kind}`);
  expect(snapshot.keyValues.map(({ key, value }) => `${key}=${value}`)).toEqual([
    "/order/0=0",
    "/order/1=1",
  ]);
  await putNumbers(client, "/order/", { from: 2, to: 3 });
  const success = [{ delete: { key: "/order/0" } }];
  const deletion = await client.transaction({ compare: [], success }, forever);
  expect(await nextEvent(events)).toMatchObject({
    kind: "put",
    keyValue: { key: "/order/2", value: "2", version: 1n, modRevision: snapshot.revision + 1n },
  });
  expect(await nextEvent(events)).toEqual({
    kind: "delete",
    key: "/order/0",
    modRevision: deletion.revision,
  });
  const ended = events.next();
  stop.abort();
  expect((await ended).done).toBe(true);
});

test("50 cuts while 10 000 keys arrive: no event is lost, doubled or reordered", async () => {
  await using proxy = await TcpProxy.start(server.port);
  await using client = newClient({ endpoints: [proxy.url] });
  await using writer = newClient();
  const stop = new AbortController();
  const seen: string[] = [];
  const revisions: bigint[] = [];
  const writing = async () => {
    for (let round = 0; round < 50; round++) {
      // In the middle of what arrives, not between two responses.
      proxy.cutAfter(1 + (round * 997) % 4_000, round % 3 === 0 ? "end" : "reset");
      const perTransaction = round % 2 === 0 ? 1 : 20;
      const [from, to] = [round * 200, (round + 1) * 200];
      await putNumbers(writer, "/cut/", { from, to, perTransaction });
      while (proxy.cuts === round) await Bun.sleep(1);
    }
  };
  let written: Promise<void> | undefined;
  for await (const event of client.watch("/cut/", stop.signal)) {
    if (event.kind === "snapshot") {
      expect(event.keyValues).toEqual([]);
      written = writing();
      continue;
    }
    if (event.kind !== "put") throw new Error(`unexpected ${event.kind}`);
    seen.push(event.keyValue.value);
    revisions.push(event.keyValue.modRevision);
    if (seen.length === 10_000) stop.abort();
  }
  await written;
  expect(seen).toEqual(Array.from({ length: 10_000 }, (_, number) => `${number}`));
  expect(revisions).toEqual(revisions.toSorted((a, b) => Number(a - b)));
  expect(proxy.cuts).toBe(50);
}, 180_000);

test("a backlog that is cut in its middle is resumed behind the last event seen", async () => {
  await using proxy = await TcpProxy.start(server.port);
  await using client = newClient({ endpoints: [proxy.url] });
  await using writer = newClient();
  const stop = new AbortController();
  const events = client.watch("/backlog/", stop.signal)[Symbol.asyncIterator]();
  await nextEvent(events);
  proxy.silence();
  proxy.cut();
  await putNumbers(writer, "/backlog/", { to: 6_000 });
  // 6000 events are some 200 kB, in responses of 1000 revisions each.
  proxy.cutAfter(100_000, "end");
  proxy.restore();
  proxy.cut();
  const seen: string[] = [];
  while (seen.length < 6_000) {
    const event = await nextEvent(events);
    if (event.kind === "put") seen.push(event.keyValue.value);
  }
  expect(proxy.cuts).toBe(1);
  expect(seen).toEqual(Array.from({ length: 6_000 }, (_, number) => `${number}`));
  stop.abort();
}, 180_000);

test("a compaction while disconnected leads to a new snapshot", async () => {
  await using server = await EtcdServer.start();
  await using proxy = await TcpProxy.start(server.port);
  const { log, records } = collectingLog();
  await using client = newClient({ endpoints: [proxy.url], log });
  await using writer = newClient({ endpoints: [server.url] });
  await putNumbers(writer, "/compacted/", { to: 3 });
  const events = client.watch("/compacted/", forever)[Symbol.asyncIterator]();
  await nextEvent(events);
  proxy.silence();
  proxy.cut();
  await writer.transaction(
    { compare: [], success: [{ delete: { key: "/compacted/0" } }] },
    forever,
  );
  await putNumbers(writer, "/compacted/", { from: 3, to: 5 });
  await compactAll(server);
  proxy.restore();
  proxy.cut();
  const snapshot = await nextEvent(events);
  if (snapshot.kind !== "snapshot") throw new Error(`a snapshot is due, not ${snapshot.kind}`);
  expect(snapshot.keyValues.map(({ key }) => key)).toEqual(
    [1, 2, 3, 4].map((number) => `/compacted/${number}`),
  );
  await putNumbers(writer, "/compacted/", { from: 5, to: 6 });
  expect(await nextEvent(events)).toMatchObject({ kind: "put", keyValue: { value: "5" } });
  expect(records.some(({ msg }) => msg.includes("compacted"))).toBe(true);
}, 90_000);

test(
  "progress notifications carry a quiet watch over a compaction without a new snapshot",
  async () => {
    await using server = await EtcdServer.start({ watchProgressSeconds: 1 });
    await using proxy = await TcpProxy.start(server.port);
    await using client = newClient({ endpoints: [proxy.url] });
    await using writer = newClient({ endpoints: [server.url] });
    const events = client.watch("/quiet/", forever)[Symbol.asyncIterator]();
    await nextEvent(events);
    const event = nextEvent(events);
    await putNumbers(writer, "/loud/", { to: 100 });
    // Of the two that come in this time, at a distance of a second, one is late enough.
    await Bun.sleep(4_000);
    await compactAll(server);
    proxy.cut();
    await putNumbers(writer, "/quiet/", { to: 1 });
    expect(await event).toMatchObject({ kind: "put", keyValue: { key: "/quiet/0" } });
  },
  90_000,
);

test("a store that was created again is read again, although its revisions are lower", async () => {
  await using server = await EtcdServer.start();
  await using client = newClient({ endpoints: [server.url] });
  await putNumbers(client, "/history/", { to: 50 });
  const events = client.watch("/history/", forever)[Symbol.asyncIterator]();
  expect(await nextEvent(events)).toMatchObject({ kind: "snapshot", revision: 51n });
  const event = nextEvent(events);
  await server.stop("SIGKILL");
  server.erase();
  await server.start();
  expect(await event).toEqual({ kind: "snapshot", keyValues: [], revision: 1n });
}, 90_000);

test("a start with 2000 keys takes one Range and one Watch", async () => {
  await using server = await EtcdServer.start();
  await using writer = newClient({ endpoints: [server.url] });
  await putNumbers(writer, "/many/", { to: 2_000, perTransaction: 100 });
  const before = await server.callCounts();
  await using client = newClient({ endpoints: [server.url] });
  const events = client.watch("/many/", forever)[Symbol.asyncIterator]();
  const snapshot = await nextEvent(events);
  expect(snapshot.kind === "snapshot" && snapshot.keyValues.length).toBe(2_000);
  const change = nextEvent(events);
  await putNumbers(writer, "/many/", { from: 2_000, to: 2_001 });
  await change;
  const after = await server.callCounts();
  const calls = [...after].map(([method, count]) => [method, count - (before.get(method) ?? 0)]);
  expect(Object.fromEntries(calls.filter(([, count]) => count !== 0))).toEqual({
    Range: 1,
    Txn: 1,
    Watch: 1,
  });
}, 90_000);

test("a network that silently drops everything is noticed within 10 s and survived", async () => {
  await using proxy = await TcpProxy.start(server.port);
  const { log, records } = collectingLog();
  await using client = newClient({ endpoints: [proxy.url], log });
  await using writer = newClient();
  const events = client.watch("/partition/", forever)[Symbol.asyncIterator]();
  await nextEvent(events);
  const event = nextEvent(events);
  await Bun.sleep(200);
  const startMs = performance.now();
  proxy.silence();
  await putNumbers(writer, "/partition/", { to: 1 });
  while (!records.some(({ msg }) => msg.includes("failed"))) await Bun.sleep(50);
  // A busy machine adds to it; without PINGs it would be minutes.
  expect(performance.now() - startMs).toBeLessThan(15_000);
  proxy.restore();
  expect(await event).toMatchObject({ kind: "put", keyValue: { key: "/partition/0" } });
  while (!records.some(({ msg }) => msg.includes("works again"))) await Bun.sleep(50);
}, 90_000);

test("an etcd that hangs is noticed within 10 s, and the other member takes over", async () => {
  await using server = await EtcdServer.start();
  await using hanging = await TcpProxy.start(server.port);
  await using working = await TcpProxy.start(server.port);
  const clock = { ...systemClock, random: () => 0 };
  await using client = newClient({ endpoints: [hanging.url, working.url], clock });
  await using writer = newClient({ endpoints: [server.url] });
  const events = client.watch("/hang/", forever)[Symbol.asyncIterator]();
  await nextEvent(events);
  const event = nextEvent(events);
  await Bun.sleep(200);
  expect(working.accepted).toBe(0);
  hanging.silence();
  await putNumbers(writer, "/hang/", { to: 1 });
  const startMs = performance.now();
  expect(await event).toMatchObject({ kind: "put", keyValue: { key: "/hang/0" } });
  expect(performance.now() - startMs).toBeLessThan(15_000);
  expect(working.accepted).toBe(1);
}, 90_000);

test("an outage is logged when it begins and when it ends, not at each attempt", async () => {
  await using server = await EtcdServer.start();
  const { log, records } = collectingLog();
  await using client = newClient({ endpoints: [server.url], log });
  const events = client.watch("/outage/", forever)[Symbol.asyncIterator]();
  await nextEvent(events);
  const event = nextEvent(events);
  await server.stop();
  // Some attempts: they get rarer, up to 2 s.
  await Bun.sleep(5_000);
  await server.start();
  await putNumbers(client, "/outage/", { to: 1 });
  expect(await event).toMatchObject({ kind: "put" });
  // One line for each reason, such as the cut and the refused connection, and one for the end.
  expect(new Set(records.map(({ msg }) => msg)).size).toBe(records.length);
  const levels = records.map(({ level }) => level);
  expect(levels.slice(0, -1).every((level) => level === "warn")).toBe(true);
  expect(records[0]?.msg).toContain("watching /outage/ in etcd failed");
  expect(records.at(-1)).toMatchObject({
    level: "info",
    msg: expect.stringContaining("watching /outage/ in etcd works again"),
  });
  expect(records[0]?.msg).toContain(server.url);
}, 90_000);

test("a reader that pauses does not make the client store what arrives meanwhile", async () => {
  await using client = newClient();
  await using writer = newClient();
  const events = client.watch("/paused/", forever)[Symbol.asyncIterator]();
  await nextEvent(events);
  const value = "x".repeat(50_000);
  const put = (key: string) =>
    writer.transaction({ compare: [], success: [{ put: { key, value } }] }, forever);
  await put("/paused/first");
  await nextEvent(events);
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  for (let number = 0; number < 2_000; number++) await put(`/paused/${number}`);
  await Bun.sleep(500);
  Bun.gc(true);
  // 100 MB were written; a few MB may wait in the windows of HTTP/2 and in sockets.
  expect((process.memoryUsage.rss() - before) / 1e6).toBeLessThan(50);
  for (let number = 0; number < 2_000; number++) {
    expect(await nextEvent(events)).toMatchObject({ keyValue: { key: `/paused/${number}` } });
  }
}, 180_000);
