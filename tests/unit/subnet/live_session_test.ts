/**
 * The key that says that this node is alive: when it is renewed, restored, waited for, given up.
 */

import { beforeEach, describe, expect, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import {
  endOfPreviousSession,
  isLiveSession,
  LiveSession,
  type LiveSessionOptions,
} from "../../../src/subnet/etcd/live_session.ts";
import type { LeaseKey } from "../../../src/subnet/lease.ts";
import { DuplicateNodeError } from "../../../src/subnet/etcd/allocation_errors.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { settle } from "../../support/fake_clock.ts";
import { FakeEtcd, type FakeEtcdClient } from "../../support/fake_etcd.ts";
import { failure } from "../../etcd/lease_store_fixture.ts";

const KEY = "/net/sessions/192.0.2.1";
const OTHER = '{"identity":"other","hostname":"host-b","interface":"eth7"}';
const forever = new AbortController().signal;

let etcd: FakeEtcd;
let client: FakeEtcdClient;
let records: LogRecord[];
let options: LiveSessionOptions;
/** When each call was made, since the last `startTiming`. */
let times: Map<string, number[]>;
let beginMs: number;

beforeEach(() => {
  etcd = new FakeEtcd();
  etcd.clock.random = () => 0;
  client = etcd.client();
  const collected = collectingLog();
  records = collected.records;
  options = {
    etcd: client,
    key: KEY,
    address: "192.0.2.1" as IpAddress,
    node: { identity: "own", hostname: "host-a", interface: "eth0", interfaces: [] },
    ttlSeconds: 30,
    clock: etcd.clock,
    log: collected.log,
  };
});

const messages = () => records.map(({ level, msg }) => `${level} ${msg}`);

async function living(more: Partial<LiveSessionOptions> = {}): Promise<LiveSession> {
  const session = await LiveSession.claim({ ...options, ...more }, forever);
  await settle();
  startTiming();
  return session;
}

/** Notes the time of calls from now on, those that fail among them. */
function startTiming(): void {
  times = new Map();
  beginMs = etcd.clock.nowMs();
  for (
    const name of [
      "range",
      "transaction",
      "keepLeaseAlive",
      "revokeLease",
      "leaseTimeToLive",
    ] as const
  ) {
    const original = Object.getPrototypeOf(client)[name].bind(client);
    client[name] = (...args: unknown[]) => {
      times.set(name, [...times.get(name) ?? [], etcd.clock.nowMs() - beginMs]);
      return original(...args);
    };
  }
}

/** Lets another node act between a reading of the key and the next step. */
function afterNextRange(act: () => void): void {
  const { range } = client;
  client.range = async (request, signal) => {
    client.range = range;
    const result = await range.call(client, request, signal);
    act();
    return result;
  };
}

describe("a live session", () => {
  test("says who this node is, since when, and lives as long as its etcd lease", async () => {
    await using _session = await living();
    const stored = etcd.get(KEY);
    const { started, ...fields } = JSON.parse(stored?.value as string);
    expect(fields).toEqual({
      hostname: "host-a",
      identity: "own",
      interface: "eth0",
      pid: process.pid,
    });
    expect(Date.parse(started)).toBeWithin(Date.now() - 3_600_000, Date.now() + 1);
    expect(etcd.timeToLive(stored?.lease as bigint).grantedSeconds).toBe(30);
    expect(isLiveSession(stored as never)).toBe(true);
  });

  test("is renewed three times in its lease's life, without a read or write", async () => {
    await using _session = await living();
    await etcd.clock.advance(35_000);
    expect(Object.fromEntries(times)).toEqual({ keepLeaseAlive: [10_000, 20_000, 30_000] });
  });

  test("is renewed after logged failures, with pauses of up to a third of the life", async () => {
    await using _session = await living();
    client.down = true;
    await etcd.clock.advance(55_000);
    client.down = false;
    await etcd.clock.advance(20_000);
    const tried = times.get("keepLeaseAlive");
    expect(tried).toEqual([
      10_000,
      11_000,
      13_000,
      17_000,
      25_000,
      35_000,
      45_000,
      55_000,
      55_000, // The key is looked at as well, for the watch shows that it has gone.
      65_000,
      75_000,
    ]);
    expect(messages()).toEqual([
      `warn keeping the live session ${KEY} failed: etcd is out of reach`,
      `info the live session ${KEY} was deleted; restored it`,
      `info keeping the live session ${KEY} works again after 8 failures in 45 s`,
    ]);
    expect(etcd.get(KEY)).toBeDefined();
  });

  test("of a second or two is renewed sooner after a failure, too", async () => {
    await using _session = await living({ ttlSeconds: 1.5 });
    client.failNext("keepLeaseAlive", "before");
    await etcd.clock.advance(1100);
    expect(times.get("keepLeaseAlive")).toEqual([500, 1000]);
  });

  test("ends with the node, which takes the key away, and is silent from then on", async () => {
    const session = await living();
    await session[Symbol.asyncDispose]();
    expect([etcd.contents, etcd.leases]).toEqual([{}, []]);
    await etcd.clock.advance(100_000);
    expect([...times.keys()]).toEqual(["revokeLease"]);
    expect(messages()).toEqual([]);
  });

  test("that cannot be ended expires", async () => {
    const session = await living();
    client.down = true;
    await session[Symbol.asyncDispose]();
    expect(messages()).toEqual([`debug cannot end the live session ${KEY}; it will expire`]);
    expect(records[0]).toMatchObject({ err: { message: "etcd is out of reach" } });
    await etcd.clock.advance(30_000);
    expect(etcd.contents).toEqual({});
  });

  test("ends in the middle of a renewal, whether that succeeds or fails", async () => {
    for (const isDown of [false, true]) {
      const session = await living();
      const keep = client.keepLeaseAlive;
      const reached = Promise.withResolvers<void>();
      client.keepLeaseAlive = (id, signal) => {
        client.down = isDown;
        reached.resolve();
        return keep(id, signal);
      };
      const passing = etcd.clock.advance(10_000);
      await reached.promise;
      await session[Symbol.asyncDispose]();
      await passing;
      client.down = false;
      await etcd.clock.advance(60_000);
      expect(times.get("keepLeaseAlive")).toEqual([10_000]);
      expect(messages().filter((text) => !text.startsWith("debug"))).toEqual([]);
      expect(etcd.get(KEY)).toBe(undefined);
    }
  });

  test("that is not got after all leaves no etcd lease behind", async () => {
    client.denyNext("transaction");
    const error = await failure(LiveSession.claim(options, forever));
    expect(error.message).toBe("etcdserver: permission denied");
    expect(etcd.leases).toEqual([]);
    client.failNext("range", "before");
    await failure(LiveSession.claim(options, forever));
    expect(etcd.calls.get("revokeLease")).toBe(1);
  });

  test("takes the place of one of this node from before a restart", async () => {
    const before = '{"identity":"own","hostname":"host-a"}';
    etcd.put(KEY, before, etcd.grant(3600).id);
    await using _session = await living();
    const stored = etcd.get(KEY);
    expect(stored?.value).not.toBe(before);
    expect(etcd.timeToLive(stored?.lease as bigint).grantedSeconds).toBe(30);
    expect(messages()).toEqual([]);
  });

  test("is not disturbed by the keys of other addresses that begin alike", async () => {
    etcd.put(`${KEY}0`, OTHER);
    await using _session = await living();
    etcd.put(`${KEY}1`, OTHER);
    await settle();
    etcd.delete(`${KEY}0`);
    await settle();
    etcd.compact();
    etcd.put(`${KEY}2`, OTHER);
    await etcd.clock.advance(15_000);
    expect(Object.fromEntries(times)).toEqual({ keepLeaseAlive: [10_000] });
  });

  test("that is deleted is restored once, at once, with the same etcd lease", async () => {
    await using _session = await living();
    const before = etcd.get(KEY);
    etcd.delete(KEY);
    await etcd.clock.advance(5_000);
    expect(etcd.get(KEY)).toMatchObject({
      value: before?.value as string,
      lease: before?.lease as bigint,
    });
    expect(Object.fromEntries(times)).toEqual({
      keepLeaseAlive: [0],
      range: [0],
      transaction: [0],
    });
    expect(messages()).toEqual([`info the live session ${KEY} was deleted; restored it`]);
  });

  test("is restored at once after any change; nearby keys do not matter", async () => {
    type Change = (value: string, lease: bigint) => void;
    const changes: Record<string, Change> = {
      "another value under its lease": (_, lease) => etcd.put(KEY, "oops", lease),
      "nothing": () => etcd.delete(KEY),
      "a key that begins alike": (value, lease) => {
        etcd.delete(KEY);
        etcd.put(`${KEY}0`, value, lease);
      },
    };
    for (const isSeen of [true, false]) {
      for (const [what, change] of Object.entries(changes)) {
        const session = await living();
        const { value, lease } = etcd.get(KEY) as { value: string; lease: bigint };
        client.down = !isSeen;
        change(value, lease);
        if (!isSeen) etcd.compact();
        client.down = false;
        for (let i = 0; i < 3; i++) await settle();
        expect([what, etcd.get(KEY)?.value, etcd.get(KEY)?.lease]).toEqual([what, value, lease]);
        await session[Symbol.asyncDispose]();
      }
    }
  });

  test("is restored once if it is deleted again during the restore", async () => {
    await using _session = await living();
    afterNextRange(() => etcd.put(KEY, "oops"));
    etcd.delete(KEY);
    for (let i = 0; i < 3; i++) await settle();
    expect(etcd.clock.nowMs()).toBe(beginMs);
    expect(isLiveSession(etcd.get(KEY) as never)).toBe(true);
    await etcd.clock.advance(60_000);
    expect(isLiveSession(etcd.get(KEY) as never)).toBe(true);
  });

  test("is restored again if it is deleted as soon as it is restored", async () => {
    await using _session = await living();
    const { transaction } = client;
    client.transaction = async (request, signal) => {
      client.transaction = transaction;
      const result = await client.transaction(request, signal);
      etcd.delete(KEY);
      await settle();
      return result;
    };
    etcd.delete(KEY);
    for (let i = 0; i < 4; i++) await etcd.clock.advance(1);
    expect(isLiveSession(etcd.get(KEY) as never)).toBe(true);
    expect(times.get("transaction")).toHaveLength(2);
  });

  test("asks for no renewal of an etcd lease that it has lost", async () => {
    await using _session = await living();
    client.failNext("range", "before");
    etcd.revoke(etcd.get(KEY)?.lease as bigint);
    await etcd.clock.advance(3000);
    expect(isLiveSession(etcd.get(KEY) as never)).toBe(true);
    expect(times.get("range")).toEqual([0, 1000]);
    expect(times.get("keepLeaseAlive")).toEqual([0]);
  });

  test("lives on where it cannot be watched, with a warning", async () => {
    const error = new Error("etcdserver: permission denied");
    client.watch = async function* () {
      await Promise.reject(error);
      yield { kind: "delete", key: KEY, modRevision: 1n };
    };
    await using _session = await living();
    expect(messages()).toEqual([
      `warn cannot watch ${KEY}; if it is deleted, duplicate public addresses will not be detected`,
    ]);
    expect(records[0]).toMatchObject({ err: { message: error.message } });
    await etcd.clock.advance(15_000);
    expect(times.get("keepLeaseAlive")).toEqual([10_000]);
  });

  test("says nothing of a watch that fails because the node stops", async () => {
    client.watch = async function* (_key, signal) {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      signal.throwIfAborted();
      yield { kind: "delete", key: KEY, modRevision: 1n };
    };
    const session = await living();
    await session[Symbol.asyncDispose]();
    expect(messages()).toEqual([]);
  });

  test("is given up to another node that has the key", async () => {
    await using session = await living();
    etcd.put(KEY, OTHER, etcd.grant(3600).id);
    expect(await session.takenOver).toBe("host-b");
    await etcd.clock.advance(100_000);
    expect(etcd.get(KEY)?.value).toBe(OTHER);
    expect(times.get("keepLeaseAlive")).toEqual([0]);
    expect(messages()).toEqual([]);
  });

  test("that another node got during an outage is not said to work again", async () => {
    await using session = await living();
    client.down = true;
    await etcd.clock.advance(40_000);
    etcd.put(KEY, OTHER, etcd.grant(3600).id);
    client.down = false;
    await etcd.clock.advance(20_000);
    expect(await session.takenOver).toBe("host-b");
    expect(messages()).toEqual([
      `warn keeping the live session ${KEY} failed: etcd is out of reach`,
    ]);
  });

  test("is left to a later daemon of this node", async () => {
    await using _session = await living();
    const later = '{"identity":"own","hostname":"host-a"}';
    etcd.put(KEY, later, etcd.grant(3600).id);
    await etcd.clock.advance(100_000);
    expect(etcd.get(KEY)?.value).toBe(later);
    expect(times.get("range")).toEqual([0]);
  });
});

describe("the session of another node", () => {
  const granted = (ttlSeconds: number) => {
    const { id } = etcd.grant(ttlSeconds);
    etcd.put(KEY, OTHER, id);
    return id;
  };
  const claim = (signal = forever) => {
    startTiming();
    return LiveSession.claim(options, signal);
  };
  /** What etcd says of its lease, poll by poll; the last for ever. */
  const scripted = (grantedSeconds: number, remaining: number[]) => {
    granted(grantedSeconds);
    startTiming();
    client.leaseTimeToLive = () => {
      times.set("polls", [...times.get("polls") ?? [], etcd.clock.nowMs() - beginMs]);
      const remainingSeconds = remaining.length > 1 ? remaining.shift() : remaining[0];
      return Promise.resolve({ remainingSeconds: remainingSeconds as number, grantedSeconds });
    };
    return LiveSession.claim(options, forever);
  };

  test("is waited for to its end, which is looked for each second", async () => {
    granted(3);
    options = { ...options, ttlSeconds: 7 };
    const pending = claim();
    await etcd.clock.advance(60_000);
    await using _session = await pending;
    expect(times.get("leaseTimeToLive")).toEqual(
      Array.from({ length: 11 }, (_, i) => 300 * i), // A tenth of so short a life.
    );
    expect(messages()).toEqual([
      "info public address 192.0.2.1 belonged to node host-b a moment ago; waiting for up to 3 s " +
      "to see whether that node is still alive",
    ]);
  });

  test("that lasts long is looked at each second, also in its last one", async () => {
    const error = failure(scripted(30, [3, 2, 1, 0, 0, 29, 28, 29]));
    await etcd.clock.advance(10_000);
    expect(await error).toBeInstanceOf(DuplicateNodeError);
    expect(times.get("polls")).toEqual([0, 1000, 2000, 3000, 4000, 5000, 6000, 7000]);
    expect(times.get("range")).toEqual([0]);
  });

  test("is alive when its lease is renewed twice; once can be a new leader's doing", async () => {
    const error = failure(scripted(30, [20, 19, 29, 29, 28, 30, 29]));
    await etcd.clock.advance(10_000);
    expect(await error).toBeInstanceOf(DuplicateNodeError);
    expect(times.get("polls")).toEqual([0, 1000, 2000, 3000, 4000, 5000]);
  });

  test("is alive when it stays for more than twice the time that its lease has", async () => {
    const error = failure(scripted(10, [9]));
    await etcd.clock.advance(60_000);
    expect(await error).toBeInstanceOf(DuplicateNodeError);
    expect(times.get("polls")).toHaveLength(24);
    expect(times.get("polls")?.at(-1)).toBe(23_000);
  });

  test("is no longer waited for when this node stops", async () => {
    granted(30);
    const stop = new AbortController();
    const pending = failure(claim(stop.signal));
    await etcd.clock.advance(2_500);
    stop.abort(new Error("stopping"));
    expect((await pending).message).toBe("stopping");
    expect(times.get("leaseTimeToLive")).toEqual([0, 1000, 2000]);
    expect(etcd.leases).toHaveLength(1);
  });

  test("that comes between reading and writing is noticed", async () => {
    afterNextRange(() => granted(10));
    const pending = LiveSession.claim(options, forever);
    await etcd.clock.advance(60_000);
    await using _session = await pending;
    expect(messages()[0]).toContain("belonged to node host-b a moment ago");
  });

  test("names the interfaces that this node may use instead", async () => {
    const interfaces = [
      { name: "eth0", addresses: ["10.1.1.1", "192.0.2.1"] },
      { name: "lo", addresses: ["127.0.0.1"] },
      { name: "flannel.1", addresses: ["10.1.9.0"] },
      { name: "eth1", addresses: ["10.1.1.2", "10.1.1.3"] },
      { name: "eth2", addresses: [] },
      { name: "eth3", addresses: ["10.1.1.4"] },
    ];
    for (
      const [given, choice] of [
        [
          interfaces,
          "choose another interface of this host with --iface: eth1 (10.1.1.2, 10.1.1.3); eth3 " +
          "(10.1.1.4)",
        ],
        [
          interfaces.slice(0, 3),
          "no other interface of this host has an address to use instead",
        ],
      ] as const
    ) {
      etcd.delete(KEY);
      options = { ...options, node: { ...options.node, interfaces: given } };
      const error = failure(scripted(10, [9]));
      await etcd.clock.advance(60_000);
      expect((await error).message).toBe(
        "node host-b (interface eth7) is alive, and has the same public address 192.0.2.1 as " +
          "this node's interface eth0; the other nodes cannot distinguish the two; " + choice,
      );
    }
  });

  test("of a translated IPv6 address names the flag for IPv6", async () => {
    const address = "2001:db8::1" as IpAddress;
    options = { ...options, address, node: { ...options.node, interface: "" } };
    const error = failure(scripted(10, [9]));
    await etcd.clock.advance(60_000);
    expect((await error).message).toEndWith(
      "has the same public address 2001:db8::1 as this node; the other nodes cannot distinguish " +
        "the two; no interface of this host has that address: set --public-ipv6 to this node's " +
        "own address, or remove --public-ipv6",
    );
  });
});

describe("isLiveSession()", () => {
  const live = (value: string, lease = 5n) => isLiveSession({ key: KEY, value, lease } as never);

  test("asks for an identity and an etcd lease that ends", () => {
    expect(live('{"identity":"x"}')).toBe(true);
    expect(live('{"identity":"x"}', 0n)).toBe(false);
  });

  test.each(["", "{", "null", "5", '"x"', "[]", "{}", '{"identity":5}'])("is not %p", (value) => {
    expect(live(value)).toBe(false);
  });
});

describe("the end of a previous session", () => {
  const end = () =>
    endOfPreviousSession({
      etcd: client,
      key: KEY,
      clock: etcd.clock,
      log: options.log,
      ownIdentity: "own",
      publicAddress: "192.0.2.9" as IpAddress,
      lease: "10.5.9.0-24" as LeaseKey,
      subject: "lease x",
      conflict: "it has it too",
      extraWaitMs: 0,
      isConflictGone: () => Promise.resolve(false),
    }, forever);

  test("is known at once if there is none, or one of this node or of no node", async () => {
    expect(await end()).toEqual({ key: KEY, createRevision: 0n });
    for (const [value, isAttached] of [['{"identity":"own"}', true], [OTHER, false]] as const) {
      etcd.put(KEY, value, isAttached ? etcd.grant(30).id : 0n);
      expect(await end()).toEqual({ key: KEY, modRevision: etcd.get(KEY)?.modRevision as bigint });
    }
    expect(etcd.calls.get("leaseTimeToLive")).toBe(undefined);
  });

  test("is waited for if the session is another node's", async () => {
    etcd.put(KEY, '{"identity":"other"}', etcd.grant(30).id);
    const pending = end();
    await etcd.clock.advance(31_000);
    expect(await pending).toEqual({ key: KEY, createRevision: 0n });
    expect(messages()).toEqual([
      "info lease x belonged to node of unknown name a moment ago; waiting for up to 30 s to see " +
      "whether that node is still alive",
    ]);
  });

  test("does not come if the session is renewed", async () => {
    const { id } = etcd.grant(30);
    etcd.put(KEY, '{"identity":"other"}', id);
    const error = failure(end());
    for (let i = 0; i < 2; i++) {
      await etcd.clock.advance(10_000);
      etcd.keepAlive(id);
    }
    await etcd.clock.advance(2_000);
    expect(await error).toBeInstanceOf(DuplicateNodeError);
    expect((await error).message)
      .toBe("node of unknown name (interface unknown) is alive, and it has it too");
    expect(await error).toMatchObject({
      publicAddress: "192.0.2.9",
      lease: "10.5.9.0-24",
      holder: { hostname: "of unknown name", interface: "unknown" },
    });
  });
});
