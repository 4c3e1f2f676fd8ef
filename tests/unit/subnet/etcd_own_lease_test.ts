/** The subnet that this node holds: when it is renewed, and what follows a change of its key. */

import { beforeEach, describe, expect, test } from "bun:test";
import type { NetworkConfig } from "../../../src/config/network_config.ts";
import { EtcdOwnLease } from "../../../src/subnet/etcd/etcd_own_lease.ts";
import { LeaseRecords } from "../../../src/subnet/etcd/lease_records.ts";
import { decodeLease, encodeLeaseValue } from "../../../src/subnet/lease_codec.ts";
import type { Lease, LeaseAttributes } from "../../../src/subnet/lease.ts";
import { attributes, failure, IPV4, IPV6_ONLY, value } from "../../etcd/lease_store_fixture.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { settle } from "../../support/fake_clock.ts";
import { FakeEtcd, type FakeEtcdClient } from "../../support/fake_etcd.ts";

const NAME = "10.5.7.0-24";
const KEY = `/net/subnets/${NAME}`;
const OURS = value("192.0.2.1");
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const A = { 4: "192.0.2.1" };
const forever = new AbortController().signal;

let etcd: FakeEtcd;
let client: FakeEtcdClient;
let records: LogRecord[];
/** When each call was made, since the lease is held, those that fail among them. */
let times: Map<string, number[]>;
let claimed: LeaseAttributes["publicAddresses"][];
let claimError: Error | undefined;

beforeEach(() => {
  etcd = new FakeEtcd();
  etcd.clock.random = () => 0;
  client = etcd.client();
  times = new Map();
  claimed = [];
  claimError = undefined;
});

interface Holding {
  readonly key?: string;
  readonly text?: string;
  /** Seconds; 0 for a reservation. */
  readonly ttl?: number;
  readonly marginMs?: number;
  readonly config?: NetworkConfig;
}

async function hold(holding: Holding = {}): Promise<EtcdOwnLease> {
  const { key = KEY, text = OURS, ttl = 86_400, marginMs = HOUR_MS, config = IPV4 } = holding;
  const etcdLease = ttl === 0 ? 0n : etcd.grant(ttl).id;
  etcd.put(key, text, etcdLease);
  const { createRevision: created, modRevision: changed } = etcd.get(key) as {
    createRevision: bigint;
    modRevision: bigint;
  };
  const collected = collectingLog("debug");
  records = collected.records;
  const own = new EtcdOwnLease({
    etcd: client,
    records: new LeaseRecords(client, "/net", collected.log),
    config,
    held: {
      lease: decodeLease({
        key: key.slice("/net/subnets/".length),
        value: text,
        created,
        changed,
      }) as Lease,
      etcdLease,
      expiresMs: ttl === 0 ? Infinity : etcd.clock.nowMs() + ttl * 1000,
    },
    renewMarginMs: marginMs,
    clock: etcd.clock,
    log: collected.log,
    claimAddress: (addresses) => {
      claimed.push(addresses);
      return claimError === undefined ? Promise.resolve() : Promise.reject(claimError);
    },
  });
  own.lost.catch(() => {}); // A test may look at it later.
  await calm();
  noteTimes();
  return own;
}

function noteTimes(): void {
  const beginMs = etcd.clock.nowMs();
  for (
    const name of ["range", "transaction", "keepLeaseAlive", "grantLease", "revokeLease"] as const
  ) {
    const original = Object.getPrototypeOf(client)[name].bind(client);
    client[name] = (...args: unknown[]) => {
      times.set(name, [...times.get(name) ?? [], etcd.clock.nowMs() - beginMs]);
      return original(...args);
    };
  }
}

/** Lets everything happen that needs no time. */
async function calm(): Promise<void> {
  for (let i = 0; i < 5; i++) await settle();
}

const messages = () => records.map(({ level, msg }) => `${level} ${msg}`);
const calls = () => Object.fromEntries([...times].map(([name, { length }]) => [name, length]));
const isHeld = async (own: EtcdOwnLease) =>
  await Promise.race([own.lost.then(() => false), settle().then(() => true)]);

describe("renewal", () => {
  test("comes a margin before the end, each time, and writes nothing", async () => {
    await using _own = await hold();
    expect(times.size).toBe(0);
    await etcd.clock.advance(2 * DAY_MS);
    const lifeMs = DAY_MS - HOUR_MS;
    expect(Object.fromEntries(times)).toEqual({ keepLeaseAlive: [lifeMs, 2 * lifeMs] });
    expect(records.map(({ level, msg, lease }) => [level, msg, lease])).toEqual(
      Array(2).fill(["info", "renewed the lease for 86400 s", NAME]),
    );
  });

  test.each([
    ["a minute before the end, however small the margin", 86_400, 10, DAY_MS - 60_000],
    ["a minute after the last one, if the life is shorter than the margin", 600, HOUR_MS, 60_000],
    ["after half of its life, if that is less than two minutes", 90, HOUR_MS, 45_000],
    ["after half of its life, if that is less than a minute", 30, HOUR_MS, 15_000],
    ["a margin before the end of an hour", 3600, 600_000, 3_000_000],
  ])("comes %s", async (_, ttl, marginMs, everyMs) => {
    await using _own = await hold({ marginMs });
    etcd.put(KEY, OURS, etcd.grant(ttl).id);
    await calm();
    // Attached to another etcd lease, it is renewed at once to learn how long that one lives.
    await etcd.clock.advance(2 * everyMs);
    expect(times.get("keepLeaseAlive")).toEqual([0, everyMs, 2 * everyMs]);
    expect(messages()).toEqual(Array(3).fill(`info renewed the lease for ${ttl} s`));
  });

  test("never comes for a reservation, however much time passes", async () => {
    client.watch = async function* (_key, signal) {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      yield { kind: "delete", key: "another", modRevision: 1n };
    };
    const { setTimer } = etcd.clock;
    const delays: number[] = [];
    etcd.clock.setTimer = (delayMs, callback) => {
      delays.push(delayMs);
      return setTimer.call(etcd.clock, delayMs, callback);
    };
    await using _own = await hold({ ttl: 0 });
    await etcd.clock.advance(3 * 2 ** 31);
    expect(new Set(delays)).toEqual(new Set([2 ** 31 - 1])); // A timer's longest delay.
    expect(times.size).toBe(0);
    expect(messages()).toEqual([]);
  });

  test("is repeated after failures, from five seconds to a minute later", async () => {
    await using _own = await hold();
    await etcd.clock.advance(DAY_MS - HOUR_MS - 1000);
    times.clear();
    noteTimes();
    client.down = true;
    await etcd.clock.advance(200_000);
    client.down = false;
    await etcd.clock.advance(60_000);
    expect(times.get("keepLeaseAlive"))
      .toEqual([0, 5, 15, 35, 75, 135, 195, 255].map((seconds) => 1000 + 1000 * seconds));
    expect(messages()).toContain(
      `warn renewing this node's lease ${NAME} failed: etcd is out of reach`,
    );
  });

  test("stops when the lease has become a reservation meanwhile", async () => {
    await using _own = await hold();
    client.down = true;
    await etcd.clock.advance(DAY_MS - HOUR_MS);
    etcd.put(KEY, OURS);
    client.down = false;
    await etcd.clock.advance(3 * DAY_MS);
    expect(times.get("keepLeaseAlive")).toHaveLength(1);
    expect(messages().filter((text) => text.includes("gone"))).toEqual([]);
    expect(etcd.get(KEY)).toMatchObject({ value: OURS, lease: 0n });
  });

  test("of an etcd lease that the key has left says nothing of its new one", async () => {
    await using _own = await hold();
    const { keepLeaseAlive } = client;
    client.keepLeaseAlive = async (id, signal) => {
      client.keepLeaseAlive = keepLeaseAlive;
      const ttlSeconds = await client.keepLeaseAlive(id, signal);
      etcd.put(KEY, OURS, etcd.grant(600).id);
      await calm();
      return ttlSeconds;
    };
    await etcd.clock.advance(DAY_MS - HOUR_MS);
    await calm();
    await etcd.clock.advance(1000);
    await calm();
    expect(times.get("keepLeaseAlive")).toHaveLength(2);
    await etcd.clock.advance(DAY_MS);
    expect(etcd.get(KEY)?.version).toBe(2n);
  });

  test("starts again with a day if the etcd lease is revoked", async () => {
    await using own = await hold();
    etcd.revoke(etcd.get(KEY)?.lease as bigint);
    await calm();
    expect(messages()).toEqual([
      "warn this node's lease was deleted; restoring it",
      "info restored this node's lease",
    ]);
    expect(records.map(({ lease }) => lease)).toEqual([NAME, NAME]);
    expect(etcd.get(KEY)).toMatchObject({ value: OURS, version: 1n });
    expect(etcd.timeToLive(etcd.get(KEY)?.lease as bigint).grantedSeconds).toBe(86_400);
    expect(own.lease).toMatchObject({
      created: etcd.get(KEY)?.createRevision as bigint,
      changed: etcd.get(KEY)?.modRevision as bigint,
    });
    times.clear();
    noteTimes();
    await etcd.clock.advance(DAY_MS);
    expect(Object.fromEntries(times)).toEqual({ keepLeaseAlive: [DAY_MS - HOUR_MS] });
  });

  test("that finds the etcd lease gone says that it expired", async () => {
    await using own = await hold();
    client.keepLeaseAlive = () => Promise.resolve(0);
    etcd.put(KEY, OURS, etcd.grant(600).id);
    await calm();
    etcd.delete(KEY);
    await calm();
    expect(messages()).toContain("warn this node's lease expired; restoring it");
    expect(await isHeld(own)).toBe(true);
  });
});

describe("a change of the key", () => {
  test("is looked into only if it is of this key and newer than what is known", async () => {
    etcd.put(`${KEY}&fc00:0:0:1::-64`, value("192.0.2.9"));
    await using own = await hold();
    etcd.put(`${KEY}&fc00:0:0:2::-64`, value("192.0.2.9"));
    await calm();
    etcd.delete(`${KEY}&fc00:0:0:1::-64`);
    await calm();
    etcd.compact();
    etcd.put(`${KEY}&fc00:0:0:3::-64`, value("192.0.2.9"));
    await calm();
    expect(calls()).toEqual({});
    await own.update(attributes(A, "02:00:00:00:00:42"), forever);
    await calm();
    expect(calls()).toEqual({ range: 1, transaction: 1 }); // Those of the update.
    etcd.put(KEY, value("192.0.2.1", "02:00:00:00:00:42"), etcd.get(KEY)?.lease);
    await calm();
    expect(calls()).toEqual({ range: 2, transaction: 1 });
    expect(own.lease.changed).toBe(etcd.get(KEY)?.modRevision as bigint);
    expect(messages()).toEqual([]);
  });

  test("that is older than what this node has written since is not looked into", async () => {
    const written = Promise.withResolvers<bigint>();
    client.watch = async function* () {
      const known = await written.promise;
      const keyValue = etcd.get(KEY) as NonNullable<ReturnType<typeof etcd.get>>;
      for (const modRevision of [known - 1n, known]) {
        yield { kind: "delete", key: KEY, modRevision };
        yield { kind: "put", keyValue: { ...keyValue, modRevision } };
      }
    };
    await using own = await hold();
    await own.update(attributes(A, "02:00:00:00:00:42"), forever);
    times.clear();
    written.resolve(own.lease.changed);
    await calm();
    expect(calls()).toEqual({});
  });

  test("that came while nothing was watched is seen in the next snapshot", async () => {
    await using own = await hold();
    client.down = true;
    etcd.put(KEY, "{", etcd.get(KEY)?.lease);
    etcd.compact();
    client.down = false;
    await calm();
    expect(etcd.get(KEY)).toMatchObject({ value: OURS, version: 3n });
    expect(own.lease.changed).toBe(etcd.get(KEY)?.modRevision as bigint);
    client.down = true;
    etcd.delete(KEY);
    etcd.compact();
    client.down = false;
    await calm();
    expect(etcd.get(KEY)).toMatchObject({ value: OURS, version: 1n });
  });

  test("back to an earlier state, as from a backup, is noticed in a snapshot", async () => {
    await using own = await hold();
    const { lease: etcdLease } = etcd.get(KEY) as { lease: bigint };
    for (const mac of ["11", "12"]) {
      await own.update(attributes(A, `02:00:00:00:00:${mac}`), forever);
    }
    const range = etcd.range.bind(etcd);
    const old = {
      key: KEY,
      value: OURS,
      lease: etcdLease,
      createRevision: 2n,
      modRevision: 2n,
      version: 1n,
    };
    etcd.range = () => ({ keyValues: [old], revision: 2n });
    etcd.compact();
    etcd.put("/net/other", "");
    await settle();
    etcd.range = range;
    await calm();
    await etcd.clock.advance(1000);
    expect(messages()).toEqual([]);
    expect(etcd.get(KEY)?.value).toBe(value("192.0.2.1", "02:00:00:00:00:12"));
  });

  test("to what cannot be read is undone, under the same etcd lease", async () => {
    await using own = await hold();
    const etcdLease = etcd.get(KEY)?.lease as bigint;
    etcd.put(KEY, "oops", etcdLease);
    await calm();
    expect(etcd.get(KEY)).toMatchObject({ value: OURS, lease: etcdLease });
    expect(messages()).toEqual([
      "warn this node's lease was overwritten: its value is not JSON; restoring it",
    ]);
    expect(records[0]?.lease).toBe(NAME);
    expect(calls()).toEqual({ range: 2, transaction: 1 });
    expect(await isHeld(own)).toBe(true);
  });

  test("by another process with this node's address is left, with a warning", async () => {
    await using own = await hold();
    const theirs = value("192.0.2.1", "02:00:00:00:00:77");
    etcd.put(KEY, theirs, etcd.get(KEY)?.lease);
    await calm();
    expect(etcd.get(KEY)?.value).toBe(theirs);
    expect(records.map(({ msg, lease, value }) => [msg, lease, value])).toEqual([[
      "another process with this node's public address changed this node's lease",
      NAME,
      theirs,
    ]]);
    expect(await isHeld(own)).toBe(true);
  });

  test("by a node with another address means that the subnet is lost", async () => {
    await using own = await hold();
    etcd.put(KEY, value("192.0.2.99"), etcd.get(KEY)?.lease);
    expect(await own.lost).toBe(
      `lease ${NAME} now belongs to the node with the public address 192.0.2.99`,
    );
    times.clear();
    await etcd.clock.advance(3 * DAY_MS);
    expect(calls()).toEqual({});
    expect(messages()).toEqual([]);
  });

  test("in an IPv6-only network is recognized by the IPv6 address", async () => {
    const holding = {
      key: "/net/subnets/0.0.0.0-0&fc00:0:0:7::-64",
      text: encodeLeaseValue(attributes({ 6: "2001:db8::1" })),
      config: IPV6_ONLY,
    };
    await using own = await hold(holding);
    const put = (address: string, mac: string) =>
      etcd.put(
        holding.key,
        encodeLeaseValue(attributes({ 6: address }, mac)),
        etcd.get(holding.key)?.lease,
      );
    put("2001:db8::1", "02:00:00:00:00:77");
    await calm();
    expect(messages()).toEqual([
      "warn another process with this node's public address changed this node's lease",
    ]);
    await own.update(attributes({ 6: "2001:db8::1" }, "02:00:00:00:00:78"), forever);
    expect(etcd.get(holding.key)?.value).toContain("02:00:00:00:00:78");
    put("2001:db8::2", "02:00:00:00:00:78");
    expect(await own.lost).toEndWith("now belongs to the node with the public address 2001:db8::2");
  });

  test("that cannot be read at once is read later, soon at first", async () => {
    await using _own = await hold();
    for (let i = 0; i < 6; i++) client.failNext("range", "before");
    etcd.put(KEY, "oops", etcd.get(KEY)?.lease);
    await calm();
    await etcd.clock.advance(60_000);
    expect(times.get("range")?.slice(0, 7)).toEqual([0, 500, 1500, 3500, 7500, 12_500, 17_500]);
    expect(messages()[0]).toBe(
      `warn reading this node's lease ${NAME} failed: the connection was cut`,
    );
    expect(etcd.get(KEY)?.value).toBe(OURS);
  });

  test("means nothing to a lease that is no longer held", async () => {
    const own = await hold();
    await own[Symbol.asyncDispose]();
    etcd.delete(KEY);
    await etcd.clock.advance(DAY_MS);
    expect(calls()).toEqual({});
    expect(messages()).toEqual([]);
  });
});

describe("writing again", () => {
  test("what was overwritten says so while it fails", async () => {
    await using _own = await hold();
    client.failNext("transaction", "before");
    etcd.put(KEY, "oops", etcd.get(KEY)?.lease);
    await etcd.clock.advance(1000);
    expect(messages()).toEqual([
      "warn this node's lease was overwritten: its value is not JSON; restoring it",
      `warn restoring this node's lease ${NAME} failed: the connection was cut`,
      `info restoring this node's lease ${NAME} works again after 1 failure in 500 ms`,
    ]);
  });

  test("what was deleted says so while it fails, and leaves one etcd lease", async () => {
    for (
      const [call, when] of [["transaction", "before"], ["transaction", "after"], [
        "grantLease",
        "before",
      ]] as const
    ) {
      etcd = new FakeEtcd();
      client = etcd.client();
      await using own = await hold();
      client.failNext(call, when);
      etcd.delete(KEY);
      await etcd.clock.advance(10_000);
      expect(messages()).toContain(
        `warn restoring this node's lease ${NAME} failed: the connection was cut`,
      );
      expect(messages()).toContain("info restored this node's lease");
      expect(etcd.get(KEY)).toMatchObject({ value: OURS, version: 1n });
      expect(own.lease.created).toBe(etcd.get(KEY)?.createRevision as bigint);
      // The previous etcd lease is left to expire.
      expect(etcd.leases).toHaveLength(2);
      await etcd.clock.advance(3 * DAY_MS);
      expect(etcd.get(KEY)?.version).toBe(1n);
    }
  });

  test("notices what another process wrote between reading and writing", async () => {
    await using own = await hold();
    const { transaction } = client;
    client.transaction = (request, signal) => {
      client.transaction = transaction;
      etcd.put(KEY, "oops", etcd.get(KEY)?.lease);
      return client.transaction(request, signal);
    };
    await own.update(attributes(A, "02:00:00:00:00:42"), forever);
    expect(etcd.get(KEY)?.value).toBe(value("192.0.2.1", "02:00:00:00:00:42"));
    expect(calls()).toMatchObject({ transaction: 2 });
  });

  test("notices a key that another process made between reading and writing", async () => {
    await using own = await hold();
    const { transaction } = client;
    client.transaction = (request, signal) => {
      client.transaction = transaction;
      etcd.put(KEY, value("192.0.2.99"), etcd.grant(60).id);
      return client.transaction(request, signal);
    };
    etcd.delete(KEY);
    expect(await own.lost).toContain("192.0.2.99");
    await calm();
    expect(etcd.get(KEY)?.value).toBe(value("192.0.2.99"));
    expect(messages()).toEqual(["warn this node's lease was deleted; restoring it"]);
    expect(etcd.leases).toHaveLength(2); // The first one, and the other node's.
  });

  test("gives up for another lease that holds the subnet by then", async () => {
    await using own = await hold();
    const other = "10.5.7.0-24&fc00:0:0:9::-64";
    etcd.delete(KEY);
    etcd.put(`/net/subnets/${other}`, value("192.0.2.2"), etcd.grant(86_400).id);
    expect(await own.lost).toBe(`lease ${other} now overlaps this node's subnet`);
    await calm();
    expect(etcd.get(KEY)).toBe(undefined);
    expect(messages().filter((text) => text.includes("back"))).toEqual([]);
  });
});

describe("an update", () => {
  const changed = attributes({ 4: "192.0.2.2" }, "02:00:00:00:00:42");

  test("claims the address, and writes under the same key and etcd lease", async () => {
    await using own = await hold();
    const before = etcd.get(KEY);
    await own.update(changed, forever);
    expect(claimed).toEqual([changed.publicAddresses]);
    expect(etcd.get(KEY)).toMatchObject({
      value: value("192.0.2.2", "02:00:00:00:00:42"),
      lease: before?.lease as bigint,
      createRevision: before?.createRevision as bigint,
    });
    expect(own.lease).toMatchObject({
      attributes: changed,
      changed: etcd.get(KEY)?.modRevision as bigint,
    });
    etcd.put(KEY, "oops", before?.lease); // It is the new value that is kept from then on.
    await calm();
    expect(etcd.get(KEY)?.value).toBe(value("192.0.2.2", "02:00:00:00:00:42"));
  });

  test("changes nothing if another node has the address", async () => {
    await using own = await hold();
    claimError = new Error("taken");
    expect((await failure(own.update(changed, forever))).message).toBe("taken");
    expect(own.lease.attributes).toEqual(attributes(A));
    expect(calls()).toEqual({});
  });

  test("is written once, though its answer is lost", async () => {
    await using own = await hold();
    client.failNext("transaction", "after");
    const pending = own.update(changed, forever);
    await etcd.clock.advance(1000);
    await pending;
    expect(etcd.get(KEY)?.version).toBe(2n);
    expect(own.lease.changed).toBe(etcd.get(KEY)?.modRevision as bigint);
    expect(messages()).toEqual([
      `warn changing this node's lease ${NAME} failed: the connection was cut`,
      `info changing this node's lease ${NAME} works again after 1 failure in 500 ms`,
    ]);
  });

  test("ends when its caller or the lease does, and the next one is carried out", async () => {
    const own = await hold();
    client.down = true;
    const stop = new AbortController();
    const stopped = failure(own.update(changed, stop.signal));
    await calm();
    stop.abort(new Error("enough"));
    await calm();
    expect((await stopped).message).toBe("enough");
    client.down = false;
    const next = own.update(attributes(A, "02:00:00:00:00:43"), forever);
    await etcd.clock.advance(10_000);
    await next;
    expect(etcd.get(KEY)?.value).toBe(value("192.0.2.1", "02:00:00:00:00:43"));
    client.down = true;
    const last = failure(own.update(changed, forever));
    await calm();
    await own[Symbol.asyncDispose]();
    expect((await last).name).toBe("AbortError");
  });
});

describe("a failure of the program itself", () => {
  const failing = (error: Error, signal?: AbortSignal) =>
    async function* () {
      if (signal) await new Promise((resolve) => signal.addEventListener("abort", resolve));
      await Promise.reject(error);
      yield { kind: "delete", key: KEY, modRevision: 1n } as const;
    };

  test("ends what waits for the loss of the lease", async () => {
    client.watch = failing(new TypeError("a bug"));
    const own = await hold();
    expect((await failure(own.lost)).message).toBe("a bug");
    await own[Symbol.asyncDispose]();
  });

  test("is of no concern once the lease is no longer held", async () => {
    client.watch = (_key, signal) => failing(new TypeError("a bug"), signal)();
    const own = await hold();
    await own[Symbol.asyncDispose]();
    expect(await isHeld(own)).toBe(true);
  });
});
