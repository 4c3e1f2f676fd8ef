/** The lease store on a real etcd. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { EtcdClient } from "../../src/etcd/client/etcd_client.ts";
import type { LeaseWatch } from "../../src/subnet/lease.ts";
import { DuplicateNodeError, OutOfSubnetsError } from "../../src/subnet/etcd/allocation_errors.ts";
import { type OwnLease } from "../../src/subnet/lease_store.ts";
import { collectingLog } from "../support/collecting_log.ts";
import { EtcdServer } from "../support/etcd_server.ts";
import { eventually } from "../support/wait.ts";
import {
  attributes,
  failure,
  IPV4,
  parse,
  request,
  type TestNode,
  testNode,
  type TestNodeOptions,
  value,
} from "./lease_store_fixture.ts";

let server: EtcdServer;
const nodes: TestNode[] = [];
const forever = new AbortController().signal;
const A = { 4: "192.0.2.1" };

beforeAll(async () => {
  server = await EtcdServer.start();
});

afterAll(async () => {
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
  await server[Symbol.asyncDispose]();
});

let networks = 0;
/** Every test has a network of its own. */
function newPrefix(): string {
  return `/network-${++networks}`;
}

function node(prefix: string, more: Partial<TestNodeOptions> = {}): TestNode {
  const created = nodeOn(server, prefix, more);
  nodes.push(created);
  return created;
}

function nodeOn(
  { url }: EtcdServer,
  prefix: string,
  more: Partial<TestNodeOptions> = {},
): TestNode {
  const etcd = new EtcdClient({ clock: systemClock, endpoints: [url], log: collectingLog().log });
  return testNode({ etcd, prefix, ...more });
}

async function get(key: string, from: EtcdServer = server): Promise<string> {
  return (await from.etcdctl("get", key, "--print-value-only")).trim();
}

async function keys(prefix: string, from: EtcdServer = server): Promise<string[]> {
  const text = await from.etcdctl("get", prefix, "--prefix", "--keys-only");
  return text.split("\n").filter((line) => line !== "");
}

/** Id of the etcd lease that a key is attached to, in hexadecimal. */
async function etcdLeaseOf(key: string, from: EtcdServer = server): Promise<string> {
  const text = await from.etcdctl("get", key, "--write-out=json");
  // An int64, beyond what JSON.parse can represent.
  return BigInt(text.match(/"lease":(\d+)/)?.[1] ?? 0).toString(16);
}

const keyOf = (prefix: string, own: OwnLease) => `${prefix}/subnets/${own.lease.key}`;

describe("on a real etcd", () => {
  test("60 nodes that start at once get 60 subnets, and each finds its own again", async () => {
    const prefix = newPrefix();
    const config = parse({ Network: "10.5.0.0/24", SubnetLen: 30 });
    const start = (i: number) =>
      node(prefix, { host: `host-${i}` }).store.acquire(
        request(config, { 4: `192.0.2.${i}` }),
        forever,
      );
    const indexes = Array.from({ length: 60 }, (_, i) => i + 1);
    const owned = await Promise.all(indexes.map(start));
    expect(new Set(owned.map(({ lease }) => lease.key)).size).toBe(60);
    expect(await keys(`${prefix}/subnets/`)).toEqual(owned.map((own) => keyOf(prefix, own)).sort());
    await Promise.all(owned.map((own) => own[Symbol.asyncDispose]()));
    const again = await Promise.all(indexes.map(start));
    expect(again.map(({ lease }) => lease.key)).toEqual(owned.map(({ lease }) => lease.key));
    const [last] = await Promise.all([61, 62, 63].map(start));
    expect(last?.lease.subnets[4]).toBeDefined();
    expect(await failure(start(64))).toBeInstanceOf(OutOfSubnetsError);
  }, 90_000);

  test("the lease is a day long, as Go reads and writes it, and outlives the node", async () => {
    const prefix = newPrefix();
    const { store } = node(prefix);
    const own = await store.acquire(request(IPV4, A), forever);
    const key = keyOf(prefix, own);
    expect(await get(key)).toBe(value("192.0.2.1"));
    expect(await server.etcdctl("lease", "timetolive", await etcdLeaseOf(key))).toMatch(
      /granted with TTL\(86400s\), remaining\(86(400|3\d\d)s\)/,
    );
    expect(await keys(prefix)).toEqual([`${prefix}/sessions/192.0.2.1`, key]);
    await own[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    expect(await keys(prefix)).toEqual([key]);
  });

  test("a reservation is reused and stays one", async () => {
    const prefix = newPrefix();
    const key = `${prefix}/subnets/10.5.9.0-24`;
    await server.etcdctl("put", key, '{"PublicIP":"192.0.2.1"}');
    const own = await node(prefix).store.acquire(request(IPV4, A), forever);
    expect(keyOf(prefix, own)).toBe(key);
    expect(await get(key)).toBe(value("192.0.2.1"));
    expect(await etcdLeaseOf(key)).toBe("0");
  });

  test("a lease that is deleted, or revoked in etcd, is restored", async () => {
    const prefix = newPrefix();
    const own = await node(prefix).store.acquire(request(IPV4, A), forever);
    const key = keyOf(prefix, own);
    await server.etcdctl("del", key);
    await eventually("the key is back", 20_000, async () => await get(key) === value("192.0.2.1"));
    const revoked = await etcdLeaseOf(key);
    await server.etcdctl("lease", "revoke", revoked);
    await eventually("the key is back", 20_000, async () => await get(key) === value("192.0.2.1"));
    expect(await etcdLeaseOf(key)).not.toBe(revoked);
    await own.update(attributes(A, "02:00:00:00:00:42"), forever);
    expect(await get(key)).toBe(value("192.0.2.1", "02:00:00:00:00:42"));
  }, 90_000);

  test("a lease that another node holds by now is lost", async () => {
    const prefix = newPrefix();
    const own = await node(prefix).store.acquire(request(IPV4, A), forever);
    await server.etcdctl("put", keyOf(prefix, own), value("192.0.2.99"));
    expect(await own.lost).toContain("now belongs to the node with the public address 192.0.2.99");
  });

  test("a lease survives an etcd that is killed, and one that comes back empty", async () => {
    // One of its own: the other tests' nodes would have to put their leases back, too.
    await using server = await EtcdServer.start();
    const prefix = newPrefix();
    await using first = nodeOn(server, prefix, { sessionTtlSeconds: 3 });
    const own = await first.store.acquire(request(IPV4, A), forever);
    const key = keyOf(prefix, own);
    await server.stop("SIGKILL");
    await Bun.sleep(500);
    await server.start();
    await own.update(attributes(A, "02:00:00:00:00:43"), forever);
    expect(await get(key, server)).toBe(value("192.0.2.1", "02:00:00:00:00:43"));
    await server.stop("SIGKILL");
    server.erase();
    await server.start();
    await eventually(
      "lease and session are back",
      40_000,
      async () => (await keys(prefix, server)).join() === `${prefix}/sessions/192.0.2.1,${key}`,
    );
  }, 90_000);

  test(
    "a second live node with our public address is refused; a dead one's is waited out",
    async () => {
      const prefix = newPrefix();
      const first = node(prefix, { host: "host-a", sessionTtlSeconds: 3 });
      const own = await first.store.acquire(request(IPV4, A), forever);
      const second = node(prefix, { host: "host-b", sessionTtlSeconds: 3 });
      const error = await failure(second.store.acquire(request(IPV4, A), forever));
      expect(error).toBeInstanceOf(DuplicateNodeError);
      expect(error.message).toContain("node host-a (interface eth0) is alive");
      const restarted = node(prefix, { host: "host-a", sessionTtlSeconds: 3 });
      expect((await restarted.store.acquire(request(IPV4, A), forever)).lease.key).toBe(
        own.lease.key,
      );
      expect(restarted.records.filter(({ msg }) => msg.includes("waiting for"))).toEqual([]);
      await own[Symbol.asyncDispose]();
      await first.store[Symbol.asyncDispose]();
      await restarted.store[Symbol.asyncDispose]();
      const taken = await second.store.acquire(request(IPV4, A), forever);
      expect(taken.lease.key).toBe(own.lease.key);
    },
    90_000,
  );

  test("a wiped etcd gets lease and session back, so that a second node is refused", async () => {
    await using server = await EtcdServer.start();
    const prefix = newPrefix();
    const options = { sessionTtlSeconds: 3 };
    await using first = nodeOn(server, prefix, { ...options, host: "host-a" });
    const own = await first.store.acquire(request(IPV4, A), forever);
    const session = `${prefix}/sessions/192.0.2.1`;
    const remaining = async () =>
      (await server.etcdctl("lease", "timetolive", await etcdLeaseOf(session, server))).trim();
    for (
      const wipe of [
        () => server.etcdctl("del", "", "--prefix"),
        () => server.etcdctl("del", session),
        async () => server.etcdctl("lease", "revoke", await etcdLeaseOf(session, server)),
      ]
    ) {
      await wipe();
      await eventually(
        "both are back",
        20_000,
        async () => (await keys(prefix, server)).join() === [session, keyOf(prefix, own)].join(),
      );
      expect(await remaining()).toContain("granted with TTL(3s)");
    }
    await using second = nodeOn(server, prefix, { ...options, host: "host-b" });
    const error = await failure(second.store.acquire(request(IPV4, A), forever));
    expect(error).toBeInstanceOf(DuplicateNodeError);
    expect(await Promise.race([own.lost, Bun.sleep(0).then(() => "held")])).toBe("held");
  }, 90_000);

  test(
    "the lease of a node whose session runs out in etcd is taken over by a rebuilt one",
    async () => {
      const prefix = newPrefix();
      const granted = await server.etcdctl("lease", "grant", "6");
      const etcdLease = granted.match(/^lease (\w+) granted/)?.[1] as string;
      const dead =
        '{"hostname":"host-a","identity":"of a machine that burnt down","interface":"eth0"}';
      await server.etcdctl("put", `${prefix}/sessions/192.0.2.1`, dead, `--lease=${etcdLease}`);
      await server.etcdctl("put", `${prefix}/subnets/10.5.9.0-24`, value("192.0.2.1"));
      const rebuilt = node(prefix, { host: "host-b" });
      const own = await rebuilt.store.acquire(request(IPV4, A), forever);
      expect(String(own.lease.key)).toBe("10.5.9.0-24");
      expect(rebuilt.records[0]?.msg).toContain("waiting for up to 6 s to see whether");
      expect(await get(`${prefix}/sessions/192.0.2.1`)).toContain("identity of host-b");
    },
    90_000,
  );

  test("an etcd user who may not write sessions gets a lease nevertheless", async () => {
    const etcdctlFlags = ["--user=root:secret"];
    await using guarded = await EtcdServer.start({ kind: "etcd", etcdctlFlags });
    await setUpUsers(guarded, "/guarded");
    const etcd = new EtcdClient({
      clock: systemClock,
      endpoints: [guarded.url],
      username: "node",
      password: "secret",
      log: collectingLog().log,
    });
    await using limited = testNode({ etcd, prefix: "/guarded" });
    await using own = await limited.store.acquire(request(IPV4, A), forever);
    expect(await guarded.etcdctl("get", "/guarded", "--prefix", "--keys-only")).toBe(
      `/guarded/subnets/${own.lease.key}\n\n`,
    );
    expect(limited.warnings()).toEqual([
      expect.stringContaining("etcd denied write access to /guarded/sessions/192.0.2.1"),
    ]);
  }, 90_000);

  test("a start with 500 leases costs as many calls as one with none", async () => {
    const count = async (leases: number) => {
      // A server of its own, which no other test calls.
      await using server = await EtcdServer.start();
      const prefix = newPrefix();
      await putAll(
        server,
        Array.from({ length: leases }, (_, i) => ({
          key: `${prefix}/subnets/10.5.${1 + i % 250}.${Math.floor(i / 250) * 64}-26`,
          value: value(`198.51.${i >> 8}.${i & 255}`),
        })),
      );
      const before = await server.callCounts();
      const config = parse({ Network: "10.5.0.0/16", SubnetLen: 26 });
      await using one = nodeOn(server, prefix);
      await using own = await one.store.acquire(request(config, A), forever);
      expect(own.lease.subnets[4]).toBeDefined();
      return await eventually("the calls of a start", 20_000, async () => {
        const after = await server.callCounts();
        const counts = ["Range", "Txn", "LeaseGrant", "LeaseTimeToLive"].map((method) =>
          (after.get(method) ?? 0) - (before.get(method) ?? 0)
        );
        // Session, leases and the watches of our own two keys are read; session and lease are made.
        return counts[0] === 4 && counts;
      });
    };
    expect(await count(0)).toEqual([4, 2, 2, 0]);
    expect(await count(500)).toEqual([4, 2, 2, 0]);
  });

  test("a stream of leases begins with all of them and continues with the changes", async () => {
    const prefix = newPrefix();
    const own = await node(prefix).store.acquire(request(IPV4, A), forever);
    const stop = new AbortController();
    const seen: LeaseWatch[] = [];
    const watching = (async () => {
      for await (const event of node(prefix).store.watchLeases(stop.signal)) seen.push(event);
    })();
    await eventually("a snapshot", 20_000, () => seen.length === 1);
    expect(seen[0]).toMatchObject({ kind: "snapshot", leases: [own.lease], invalid: [] });
    await server.etcdctl("put", `${prefix}/subnets/10.5.250.0-24`, "{");
    await own.update(attributes(A, "02:00:00:00:00:42"), forever);
    await server.etcdctl("del", `${prefix}/subnets/10.5.250.0-24`);
    await eventually("all events", 20_000, () => seen.length === 4);
    expect(seen.slice(1)).toMatchObject([
      { kind: "invalid", invalid: { key: "10.5.250.0-24", reason: "its value is not JSON" } },
      { kind: "put", lease: own.lease },
      { kind: "delete", key: "10.5.250.0-24" },
    ]);
    stop.abort();
    await watching;
  });

  test("the configuration is read, and each change of it is reported", async () => {
    const prefix = newPrefix();
    const { store } = node(prefix);
    expect(await store.networkConfig(forever)).toBe(undefined);
    await server.etcdctl("put", `${prefix}/config`, '{"Network":"10.5.0.0/16"}');
    expect(await store.networkConfig(forever)).toBe('{"Network":"10.5.0.0/16"}');
    const stop = new AbortController();
    const seen: (string | undefined)[] = [];
    const watching = (async () => {
      for await (const text of store.watchNetworkConfig(stop.signal)) seen.push(text);
    })();
    await server.etcdctl("put", `${prefix}/config`, '{"Network":"10.6.0.0/16"}');
    await server.etcdctl("del", `${prefix}/config`);
    await eventually("two changes", 20_000, () => seen.includes(undefined));
    stop.abort();
    await watching;
    expect(seen.at(-1)).toBe(undefined);
    expect(seen.length).toBeLessThanOrEqual(2);
  });
});

/** Switches authentication on, with a user for a node that sees its network's subnets only. */
async function setUpUsers(etcd: EtcdServer, prefix: string): Promise<void> {
  await etcd.etcdctl("role", "add", "subnets");
  await etcd.etcdctl(
    "role",
    "grant-permission",
    "subnets",
    "readwrite",
    `${prefix}/subnets/`,
    "--prefix",
  );
  for (const [user, role] of [["root", "root"], ["node", "subnets"]] as const) {
    await etcd.etcdctl("user", "add", `${user}:secret`);
    await etcd.etcdctl("user", "grant-role", user, role);
  }
  await etcd.etcdctl("auth", "enable");
}

/** Many puts in few transactions; etcd allows 128 operations in each. */
async function putAll(
  { url }: EtcdServer,
  entries: readonly { key: string; value: string }[],
): Promise<void> {
  const { log } = collectingLog();
  await using client = new EtcdClient({ clock: systemClock, endpoints: [url], log });
  for (let i = 0; i < entries.length; i += 100) {
    const success = entries.slice(i, i + 100).map((entry) => ({ put: entry }));
    await client.transaction({ compare: [], success }, forever);
  }
}
