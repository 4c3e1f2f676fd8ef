/** Answers of a damaged etcd, or of another program in its place. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import type { EtcdWatch } from "../../src/etcd/client/etcd.ts";
import { EtcdError } from "../../src/etcd/client/etcd_error.ts";
import { Event_EventType as EventType } from "../../src/etcd/api/kv_pb.ts";
import { systemClock } from "../../src/base/clock.ts";
import { collectingLog, type LogRecord } from "../support/collecting_log.ts";
import {
  ScriptedEtcd,
  type ScriptedHeader,
  scriptedKeyValue as keyValue,
  type ScriptedWatchResponse,
} from "../support/scripted_etcd.ts";
import { eventually } from "../support/wait.ts";

const forever = new AbortController().signal;
const LARGEST = 2n ** 63n - 1n;
const PREFIX = "/net/";

let etcd: ScriptedEtcd;
let client: EtcdClient;
let records: LogRecord[];

beforeEach(async () => {
  etcd = await ScriptedEtcd.start();
  const collecting = collectingLog();
  records = collecting.records;
  const timing = { retryForMs: 0 };
  client = new EtcdClient({
    clock: systemClock,
    endpoints: [etcd.url],
    log: collecting.log,
    timing,
  });
});

afterEach(async () => {
  await client[Symbol.asyncDispose]();
  await etcd[Symbol.asyncDispose]();
});

async function failure(promise: Promise<unknown>): Promise<EtcdError> {
  const error = await promise.then(() => undefined, (error) => error);
  if (!(error instanceof EtcdError)) throw new Error(`an EtcdError is due, not ${error}`);
  return error;
}

/** Whatever is sent from now on follows the confirmation of the watch. */
async function opened(watches: number): Promise<void> {
  await eventually(`watch ${watches}`, 20_000, () => etcd.calls.watch >= watches);
}

describe("a read is repeated, and not believed,", () => {
  const range = (key = "/net/a") => client.range({ key }, forever);

  test.each([
    [LARGEST, "invalid revision 9223372036854775807"],
    [-1n, "invalid revision -1"],
    [0n, "invalid revision 0"],
  ])("with the store at revision %d", async (revision, reason) => {
    etcd.script = { range: (answer) => ({ ...answer, header: { ...etcd.header(), revision } }) };
    expect((await failure(range())).message).toContain(reason);
  });

  test("without a header", async () => {
    etcd.script = { range: ({ kvs }) => ({ kvs: kvs ?? [] }) };
    expect((await failure(range())).message).toContain("has no header");
  });

  test("with another key than the one asked for", async () => {
    etcd.keyValues = [keyValue("/net/b", { modRevision: 3n })];
    const error = await failure(range());
    expect(error.message).toStartWith("cannot read /net/a in etcd: ");
    expect(error.message).toContain('the key "/net/b", which was not requested');
    const outside = await failure(client.range({ key: "/other/", prefix: true }, forever));
    expect(outside.message).toContain("which was not requested");
  });

  test("with the same key twice, or fewer keys than there are", async () => {
    const one = keyValue("/net/a", { modRevision: 3n });
    etcd.keyValues = [one, one];
    expect((await failure(range())).message).toContain("2 values");
    etcd.keyValues = [one];
    etcd.script = { range: (answer) => ({ ...answer, count: 5n }) };
    expect((await failure(range())).message).toContain("incomplete: 1 of 5 keys");
    etcd.script = { range: (answer) => ({ ...answer, more: true }) };
    expect((await failure(range())).message).toContain("incomplete");
  });

  test.each([
    [{ createRevision: 4n, modRevision: 3n }],
    [{ createRevision: 0n, modRevision: 3n }],
    [{ createRevision: 3n, modRevision: LARGEST }],
  ])("with a key of revisions %p", async (revisions) => {
    etcd.keyValues = [keyValue("/net/a", revisions)];
    expect((await failure(range())).message).toContain("invalid revisions");
  });

  test("until an answer can be true", async () => {
    etcd.keyValues = [keyValue("/net/a", { modRevision: 3n, value: "right" })];
    const foreign = keyValue("/net/b", { modRevision: 3n });
    etcd.script = {
      range: (answer, count) => count === 1 ? { ...answer, kvs: [foreign] } : answer,
    };
    await using patient = new EtcdClient({
      clock: systemClock,
      endpoints: [etcd.url],
      log: collectingLog().log,
    });
    const { keyValues } = await patient.range({ key: "/net/a" }, forever);
    expect(keyValues.map(({ value }) => value)).toEqual(["right"]);
    expect(etcd.calls.range).toBe(2);
  });

  test("by another member, if there is one", async () => {
    await using right = await ScriptedEtcd.start();
    etcd.script = { range: (answer) => ({ ...answer, header: { revision: LARGEST } }) };
    const clock = { ...systemClock, random: () => 0 };
    const endpoints = [etcd.url, right.url];
    await using client = new EtcdClient({ endpoints, log: collectingLog().log, clock });
    expect(await client.range({ key: "/a" }, forever)).toEqual({ keyValues: [], revision: 10n });
  });
});

test("keys that are not UTF-8, which any client can write, do not affect the others", async () => {
  const strange = (last: number) => ({
    ...keyValue("/net/", { modRevision: 3n }),
    key: Uint8Array.from([...new TextEncoder().encode("/net/"), last]),
  });
  etcd.keyValues = [keyValue("/net/a", { modRevision: 2n }), strange(0xfe), strange(0xff)];
  const { keyValues } = await client.range({ key: PREFIX, prefix: true }, forever);
  expect(keyValues.map(({ key }) => key)).toEqual(["/net/a", "/net/\ufffd", "/net/\ufffd"]);
});

describe("a transaction may have been done, and is read again, if its answer has", () => {
  const success = [{ put: { key: "/net/a", value: "" } }, { range: { key: "/net/a" } }];
  const change = () => client.transaction({ compare: [], success }, forever);

  test("an invalid revision, another number or another kind of results", async () => {
    const answers = [
      { header: { ...etcd.header(), revision: LARGEST } },
      { responses: [] },
      {
        responses: [1, 2].map(() => ({ response: { case: "responsePut" as const, value: {} } })),
      },
    ];
    for (const wrong of answers) {
      etcd.script = { txn: (answer) => ({ ...answer, ...wrong }) };
      expect((await failure(change())).mayHaveBeenApplied).toBe(true);
    }
  });

  test("a key that was not asked for", async () => {
    etcd.keyValues = [keyValue("/net/b", { modRevision: 3n })];
    const error = await failure(change());
    expect(error.mayHaveBeenApplied).toBe(true);
    expect(error.message).toContain("which was not requested");
  });
});

test("a lease of an invalid id or time to live is not relied on", async () => {
  const grant = (id = 0n) => failure(client.grantLease({ id, ttlSeconds: 60 }, forever));
  etcd.script = { grant: (answer) => ({ ...answer, ID: 0n }) };
  expect((await grant()).message).toContain("granted the lease 0");
  etcd.script = { grant: (answer) => ({ ...answer, ID: 6n }) };
  expect((await grant(5n)).message).toContain("granted the lease 6 instead of 5");
  for (const TTL of [0n, -5n, LARGEST]) {
    etcd.script = { grant: (answer) => ({ ...answer, TTL }) };
    expect((await grant()).message).toContain(`${TTL} s`);
  }
  etcd.script = { keepAlive: (answer) => ({ ...answer, TTL: LARGEST }) };
  const renewal = () => failure(client.keepLeaseAlive(5n, forever));
  expect((await renewal()).message).toContain(`invalid time to live ${LARGEST} s`);
  etcd.script = { keepAlive: (answer) => ({ ...answer, ID: 6n, TTL: 0n }) };
  expect((await renewal()).message).toContain("for lease 6 instead of 5");
  const times = () => failure(client.leaseTimeToLive(5n, forever));
  etcd.script = { timeToLive: (answer) => ({ ...answer, ID: 6n, TTL: -1n }) };
  expect((await times()).message).toContain("for lease 6 instead of 5");
  etcd.script = { timeToLive: (answer) => ({ ...answer, grantedTTL: 0n }) };
  expect((await times()).message).toContain("granted for 0 s");
  // A lease that ran out and has not been removed yet has a negative rest.
  etcd.script = { timeToLive: (answer) => ({ ...answer, TTL: -3n }) };
  expect((await client.leaseTimeToLive(5n, forever)).remainingSeconds).toBe(-3);
});

describe("a watch reads all keys again after", () => {
  /** A watch that has had its first snapshot and is confirmed; the test falsifies what follows. */
  async function followed(): Promise<AsyncIterator<EtcdWatch>> {
    etcd.keyValues = [keyValue("/net/a", { modRevision: 3n })];
    const events = client.watch(PREFIX, forever)[Symbol.asyncIterator]();
    expect(await events.next()).toMatchObject({ value: { kind: "snapshot", revision: 10n } });
    return events;
  }

  async function expectReread(
    events: AsyncIterator<EtcdWatch>,
    falsify: () => void,
    watches = 2,
  ): Promise<void> {
    const next = events.next();
    await opened(1);
    falsify();
    // What it says then holds, and so do the events that follow.
    expect(await next).toMatchObject({ value: { kind: "snapshot" } });
    const after = events.next();
    await opened(watches);
    etcd.put("/net/later");
    expect(await after).toMatchObject({ value: { keyValue: { key: "/net/later" } } });
  }

  type Event = NonNullable<ScriptedWatchResponse["events"]>[number];
  const put = (event: Event) => ({ events: [event] });
  const cases: [string, () => ScriptedWatchResponse, string][] = [
    [
      "progress to the revision 2^63 - 1",
      () => ({ header: { ...etcd.header(), revision: LARGEST } }),
      "invalid revision 9223372036854775807",
    ],
    [
      "an event at the revision 2^63 - 1",
      () => put({ type: EventType.PUT, kv: keyValue("/net/a", { modRevision: LARGEST }) }),
      "invalid revision 9223372036854775807: it was created at",
    ],
    [
      "an event beyond the store's revision",
      () => put({ type: EventType.DELETE, kv: keyValue("/net/a", { modRevision: 11n }) }),
      "invalid revision 11",
    ],
    [
      "an event that came before",
      () => put({ type: EventType.DELETE, kv: keyValue("/net/a", { modRevision: 9n }) }),
      "at revision 9 after one at 10",
    ],
    [
      "events in the wrong order",
      () => ({
        header: { ...etcd.header(), revision: 12n },
        events: [12n, 11n].map((modRevision) => ({ kv: keyValue("/net/a", { modRevision }) })),
      }),
      "at revision 11 after one at",
    ],
    [
      "an event of a key that is not watched",
      () => ({
        header: { ...etcd.header(), revision: 11n },
        events: [{ kv: keyValue("/other/a", { modRevision: 11n }) }],
      }),
      '"/other/a", which is not watched',
    ],
    ["an event without a key", () => put({ type: EventType.PUT }), "without a key"],
    [
      "a response without a header",
      () => ({ header: undefined as unknown as ScriptedHeader }),
      "has no header",
    ],
    [
      "a response of another cluster",
      () => ({ header: { ...etcd.header(), clusterId: 0xabcn } }),
      "cluster ID changed from 7 to abc",
    ],
  ];

  test.each(cases)("%s", async (_name, response, logged) => {
    const events = await followed();
    await expectReread(events, () => etcd.send(response()));
    expect(records.map(({ msg }) => msg).join("\n")).toContain(logged);
    expect(etcd.calls.range).toBe(2);
  });

  test("another cluster whose revisions are higher has taken etcd's place", async () => {
    const events = await followed();
    await expectReread(events, () => {
      etcd.clusterId = 8n;
      etcd.revision = 500n;
      etcd.endWatches();
    }, 3);
    expect(records.map(({ msg }) => msg).join("\n")).toContain("cluster ID changed");
  });
});

test("a snapshot at the revision 2^63 - 1 is read again, and then the watch delivers", async () => {
  etcd.script = {
    range: (answer, count) =>
      count <= 2 ? { ...answer, header: { ...etcd.header(), revision: LARGEST } } : answer,
  };
  const events = client.watch(PREFIX, forever)[Symbol.asyncIterator]();
  expect(await events.next()).toMatchObject({ value: { kind: "snapshot", revision: 10n } });
  const event = events.next();
  await opened(1);
  etcd.put("/net/a");
  expect(await event).toMatchObject({ value: { keyValue: { key: "/net/a" } } });
  const [first] = records;
  expect(first?.msg).toContain("watching /net/ in etcd failed");
  expect(first?.msg).toContain("invalid revision 9223372036854775807");
});

test("a watch that is not confirmed is opened again", async () => {
  etcd.script = {
    created: (answer, count) => count === 1 ? { ...answer, created: false } : answer,
  };
  const events = client.watch(PREFIX, forever)[Symbol.asyncIterator]();
  await events.next();
  const event = events.next();
  await opened(2);
  etcd.put("/net/a");
  expect(await event).toMatchObject({ value: { keyValue: { key: "/net/a" } } });
  expect(records[0]?.msg).toContain("did not confirm the watch");
});

test("a server that contradicts itself all the time is asked ever more rarely", async () => {
  const stop = new AbortController();
  const events = client.watch(PREFIX, stop.signal)[Symbol.asyncIterator]();
  await events.next();
  const pauses: number[] = [];
  for (let count = 1; count <= 6; count++) {
    const next = events.next();
    await opened(count);
    // Correct responses in between do not reset the back-off.
    etcd.put(`/net/${count}`);
    expect(await next).toMatchObject({ value: { kind: "put" } });
    const startMs = performance.now();
    const snapshot = events.next();
    etcd.send({ header: { ...etcd.header(), clusterId: 9n } });
    expect(await snapshot).toMatchObject({ value: { kind: "snapshot" } });
    pauses.push(performance.now() - startMs);
  }
  stop.abort();
  // 50 ms doubled five times, less at most half.
  expect(pauses.at(-1)).toBeGreaterThan(800);
});
