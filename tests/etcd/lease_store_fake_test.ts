/** The lease store with an etcd in memory: faults at exact moments, and days that pass at once. */

import { describe, expect, test } from "bun:test";
import type { IpAddress } from "../../src/addr/ip.ts";
import fc from "fast-check";
import type { Prefix } from "../../src/addr/prefix.ts";
import type { LeaseKey, LeaseWatch } from "../../src/subnet/lease.ts";
import { DuplicateNodeError, OutOfSubnetsError } from "../../src/subnet/etcd/allocation_errors.ts";
import { type OwnLease } from "../../src/subnet/lease_store.ts";
import { settle } from "../support/fake_clock.ts";
import { FakeEtcd, type FakeEtcdClient, type Fault } from "../support/fake_etcd.ts";
import { unpacked } from "../support/unpacked.ts";
import {
  attributes,
  deviceIdentity,
  DUAL,
  failure,
  IPV4,
  IPV6_ONLY,
  parse,
  request,
  type TestNode,
  testNode,
  value,
} from "./lease_store_fixture.ts";

const PREFIX = "/coreos.com/network";
const SUBNETS = `${PREFIX}/subnets/`;
const DAY_MS = 86_400_000;
const A = { 4: "192.0.2.1" };
const B = { 4: "192.0.2.2" };
const forever = new AbortController().signal;

function node(
  etcd: FakeEtcd,
  host = "host-a",
  sessionTtlSeconds = 30,
): TestNode & { client: FakeEtcdClient } {
  const client = etcd.client();
  const options = { etcd: client, prefix: PREFIX, clock: etcd.clock, host, sessionTtlSeconds };
  return { ...testNode(options), client };
}

/** Waits for a promise while time passes in steps, at most an hour. */
async function withTime<T>(etcd: FakeEtcd, promise: Promise<T>): Promise<T> {
  let done = false;
  const end = () => done = true;
  promise.then(end, end);
  for (let i = 0; i < 3600 && !done; i++) await etcd.clock.advance(1000);
  return await Promise.race([promise, Promise.reject(new Error("not within an hour"))]);
}

function subnetKeys(etcd: FakeEtcd): string[] {
  return Object.keys(etcd.contents).filter((key) => key.startsWith(SUBNETS))
    .map((key) => key.slice(SUBNETS.length)).sort();
}

/** A run of numbers in [0, 1) that a seed decides (mulberry32). */
class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next = (): number => {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ this.#state >>> 15, 1 | this.#state);
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
    return ((mixed ^ mixed >>> 14) >>> 0) / 4294967296;
  };
}

const keyOf = (own: OwnLease) => own.lease.key as string;

describe("acquire", () => {
  test("creates a lease of a day, written as Go writes it", async () => {
    const etcd = new FakeEtcd();
    const { store } = node(etcd);
    const own = await withTime(etcd, store.acquire(request(IPV4, A), forever));
    const stored = etcd.get(SUBNETS + keyOf(own));
    expect(stored?.value).toBe(value("192.0.2.1"));
    expect(etcd.timeToLive(stored?.lease ?? 0n).grantedSeconds).toBe(86_400);
    expect(own.lease).toMatchObject({
      created: stored?.createRevision,
      changed: stored?.modRevision,
    });
    await own[Symbol.asyncDispose]();
    expect(subnetKeys(etcd)).toEqual([keyOf(own)]);
  });

  test("reuses the lease with our public address, and writes only what differs", async () => {
    const etcd = new FakeEtcd();
    const { id } = etcd.grant(86_400);
    etcd.put(`${SUBNETS}10.5.7.0-24`, value("192.0.2.1"), id);
    const before = etcd.get(`${SUBNETS}10.5.7.0-24`);
    await etcd.clock.advance(DAY_MS / 2);
    const own = await withTime(etcd, node(etcd).store.acquire(request(IPV4, A), forever));
    expect(keyOf(own)).toBe("10.5.7.0-24");
    expect(etcd.get(`${SUBNETS}10.5.7.0-24`)).toEqual(before as never);
    expect(etcd.timeToLive(id).remainingSeconds).toBeGreaterThan(86_000);
    expect(etcd.leases).toHaveLength(2); // and the session's
  });

  test("publishes what has changed since, under the same etcd lease", async () => {
    const etcd = new FakeEtcd();
    const { id } = etcd.grant(86_400);
    etcd.put(`${SUBNETS}10.5.7.0-24`, value("192.0.2.1", "02:00:00:00:00:99"), id);
    await withTime(etcd, node(etcd).store.acquire(request(IPV4, A), forever));
    expect(etcd.get(`${SUBNETS}10.5.7.0-24`)).toMatchObject({
      value: value("192.0.2.1"),
      lease: id,
    });
  });

  test("an etcd lease of less than a day is replaced", async () => {
    const etcd = new FakeEtcd();
    etcd.put(`${SUBNETS}10.5.7.0-24`, value("192.0.2.1"), etcd.grant(600).id);
    await withTime(etcd, node(etcd).store.acquire(request(IPV4, A), forever));
    await etcd.clock.advance(700_000);
    const stored = etcd.get(`${SUBNETS}10.5.7.0-24`);
    expect(etcd.timeToLive(stored?.lease ?? 0n).grantedSeconds).toBe(86_400);
  });

  test("a reservation is reused and stays one, with our attributes", async () => {
    const etcd = new FakeEtcd();
    etcd.put(`${SUBNETS}10.5.9.0-24`, '{"PublicIP":"192.0.2.1"}');
    const { store } = node(etcd, "host-a", 3000);
    const own = await withTime(etcd, store.acquire(request(IPV4, A), forever));
    expect(keyOf(own)).toBe("10.5.9.0-24");
    await own.update(attributes(A, "02:00:00:00:00:42"), forever);
    await etcd.clock.advance(3 * DAY_MS);
    expect(etcd.get(`${SUBNETS}10.5.9.0-24`)).toMatchObject({
      value: value("192.0.2.1", "02:00:00:00:00:42"),
      lease: 0n,
    });
    await own[Symbol.asyncDispose]();
  });

  test("a reservation for us replaces a lease of ours; another's is left alone", async () => {
    const etcd = new FakeEtcd();
    etcd.put(`${SUBNETS}10.5.7.0-24`, value("192.0.2.1"), etcd.grant(86_400).id);
    etcd.put(`${SUBNETS}10.5.9.0-24`, '{"PublicIP":"192.0.2.1"}');
    etcd.put(`${SUBNETS}10.5.1.0-24`, '{"PublicIP":"192.0.2.77"}');
    const own = await withTime(etcd, node(etcd).store.acquire(request(IPV4, A), forever));
    expect(keyOf(own)).toBe("10.5.9.0-24");
    expect(subnetKeys(etcd)).toEqual(["10.5.1.0-24", "10.5.9.0-24"]);
    expect(etcd.get(`${SUBNETS}10.5.1.0-24`)?.version).toBe(1n);
  });

  test("a lease of ours that no longer fits is deleted; such a reservation stays", async () => {
    const etcd = new FakeEtcd();
    etcd.put(`${SUBNETS}10.6.7.0-24`, value("192.0.2.1"), etcd.grant(86_400).id);
    etcd.put(`${SUBNETS}10.6.8.0-24`, value("192.0.2.1"));
    const { store, warnings } = node(etcd);
    const own = await withTime(etcd, store.acquire(request(IPV4, A), forever));
    expect(subnetKeys(etcd)).toEqual([keyOf(own), "10.6.8.0-24"].sort());
    expect(own.lease.subnets[4]).toStartWith("10.5.");
    expect(warnings()).toEqual([expect.stringContaining("the reservation of 10.6.8.0/24")]);
  });

  test("a lease of ours that overlaps an older one, and so is ignored, is given up", async () => {
    const keys = ["10.5.7.0-24&fc00:0:0:7::-64", "10.5.7.0-24&fc00:0:0:9::-64"] as const;
    for (const [ours, theirs] of [keys, keys.toReversed() as [string, string]]) {
      for (const isOlder of [true, false]) {
        const etcd = new FakeEtcd();
        const entries = [[theirs, value("192.0.2.9")], [ours, value("192.0.2.1")]] as const;
        for (const [key, text] of isOlder ? entries : entries.toReversed()) {
          etcd.put(SUBNETS + key, text, etcd.grant(86_400).id);
        }
        const wish = request(DUAL, { ...A, 6: "2001:db8::1" });
        const own = await withTime(etcd, node(etcd).store.acquire(wish, forever));
        if (isOlder) {
          expect(subnetKeys(etcd)).toEqual([theirs, keyOf(own)].sort());
          expect(own.lease.subnets[4]).not.toBe("10.5.7.0/24" as Prefix);
        } else {
          expect(keyOf(own)).toBe(ours);
        }
        await own[Symbol.asyncDispose]();
      }
    }
  });

  test("takes the subnet of the subnet file when it is free and fits", async () => {
    const cases: [string, string][] = [["10.5.200.0/24", "10.5.200.0-24"], [
      "10.6.0.0/24",
      "10.5.1.0-24",
    ]];
    for (const [previous, expected] of cases) {
      const etcd = new FakeEtcd();
      etcd.clock.random = () => 0;
      const wish = request(IPV4, A, { previous: { 4: previous } });
      expect(keyOf(await withTime(etcd, node(etcd).store.acquire(wish, forever)))).toBe(expected);
    }
    const etcd = new FakeEtcd();
    etcd.put(`${SUBNETS}10.5.200.0-24`, value("192.0.2.2"), etcd.grant(86_400).id);
    etcd.clock.random = () => 0;
    const wish = request(IPV4, A, { previous: { 4: "10.5.200.0/24" } });
    const { store, warnings } = node(etcd);
    expect(keyOf(await withTime(etcd, store.acquire(wish, forever)))).toBe("10.5.1.0-24");
    expect(warnings()).toEqual([
      "the subnet changed from 10.5.200.0/24 (subnet file) to 10.5.1.0/24: 10.5.200.0/24 is " +
      "leased to the node with the public address 192.0.2.2; give the workloads new addresses " +
      "(restart Docker). If no other node has that address, delete the lease and restart " +
      "flanneld: etcdctl del " +
      `${SUBNETS}10.5.200.0-24`,
    ]);
  });

  test("warns that the workloads need new addresses if the subnet changes", async () => {
    const etcd = new FakeEtcd();
    etcd.clock.random = () => 0;
    etcd.put(`${SUBNETS}10.5.200.0-24`, "not a lease", etcd.grant(86_400).id);
    const before = request(IPV4, A, { previous: { 4: "10.5.200.0/24" } });
    const first = node(etcd);
    await withTime(etcd, first.store.acquire(before, forever));
    expect(first.warnings()).toContainEqual(
      expect.stringMatching(
        /: 10\.5\.200\.0\/24 overlaps lease 10\.5\.200\.0-24; .* etcdctl del /,
      ),
    );
    expect(first.records.find(({ msg }) => msg.startsWith("the subnet changed"))?.lease)
      .toBe("10.5.1.0-24");
    const changed = node(new FakeEtcd());
    const elsewhere = request(IPV4, A, { previous: { 4: "10.6.0.0/24" } });
    await changed.store.acquire(elsewhere, forever);
    expect(changed.warnings()).toEqual([
      expect.stringMatching(
        /: 10\.6\.0\.0\/24 cannot be used any more; give the workloads new .* \(restart Docker\)$/,
      ),
    ]);
  });

  test("says which reservation it takes, and reuses", async () => {
    const etcd = new FakeEtcd();
    etcd.put(`${SUBNETS}10.5.7.0-24`, value("192.0.2.1"), 0n);
    for (const [verb, previous] of [["taking", {}], ["reusing", { 4: "10.5.7.0/24" }]] as const) {
      const { store, records } = node(etcd);
      const wish = request(IPV4, A, { previous });
      const own = await withTime(etcd, store.acquire(wish, forever));
      expect(records.at(-1)?.msg).toBe(`${verb} this node's reservation of 10.5.7.0/24`);
      await own[Symbol.asyncDispose]();
    }
  });

  test("takes no subnet that contains an excluded address, even if it had it before", async () => {
    const excluded = ["10.5.1.254", "10.5.200.9", "10.5.201.9"].map((address) => ({
      address: address as IpAddress,
      what: "the gateway of this host",
    }));
    const etcd = new FakeEtcd();
    etcd.clock.random = () => 0; // It chooses 10.5.1.0/24 first.
    etcd.put(`${SUBNETS}10.5.201.0-24`, value("192.0.2.1"), etcd.grant(86_400).id);
    const wish = { ...request(IPV4, A, { previous: { 4: "10.5.200.0/24" } }), excluded };
    const { store, records } = node(etcd);
    expect(keyOf(await withTime(etcd, store.acquire(wish, forever)))).toBe("10.5.2.0-24");
    expect(subnetKeys(etcd)).toEqual(["10.5.2.0-24"]);
    expect(records.map(({ msg }) => msg)).toContainEqual(
      "deleting this node's lease of 10.5.201.0/24: it contains an address that this host uses",
    );
  });

  test("a node that gets IPv6 as well keeps its IPv4 subnet from the subnet file", async () => {
    const etcd = new FakeEtcd();
    etcd.clock.random = () => 0;
    etcd.put(`${SUBNETS}10.5.30.0-24`, value("192.0.2.1"), etcd.grant(86_400).id);
    const wish = request(DUAL, { ...A, 6: "2001:db8::1" }, { previous: { 4: "10.5.30.0/24" } });
    const own = await withTime(etcd, node(etcd).store.acquire(wish, forever));
    expect(subnetKeys(etcd)).toEqual(["10.5.30.0-24&fc00:0:0:1::-64"]);
    expect(keyOf(own)).toBe("10.5.30.0-24&fc00:0:0:1::-64");
  });

  test("in an IPv6-only network leases are found by the public IPv6 address", async () => {
    const etcd = new FakeEtcd();
    const first = await withTime(
      etcd,
      node(etcd).store.acquire(request(IPV6_ONLY, { 6: "2001:db8::1" }), forever),
    );
    expect(keyOf(first)).toMatch(/^0\.0\.0\.0-0&fc00:0:0:[0-9a-f]+::-64$/);
    await first[Symbol.asyncDispose]();
    const again = await withTime(
      etcd,
      node(etcd).store.acquire(request(IPV6_ONLY, { 6: "2001:db8::1" }), forever),
    );
    expect(keyOf(again)).toBe(keyOf(first));
    const other = await withTime(
      etcd,
      node(etcd, "host-b").store.acquire(request(IPV6_ONLY, { 6: "2001:db8::2" }), forever),
    );
    expect(keyOf(other)).not.toBe(keyOf(first));
  });

  test("needs no more calls with 1000 leases than with none", async () => {
    const count = async (leases: number) => {
      const etcd = new FakeEtcd();
      for (let i = 0; i < leases; i++) {
        const key = `${SUBNETS}10.5.${i % 250}.${Math.floor(i / 250) * 64}-26`;
        etcd.put(key, value(`198.51.${i >> 8}.${i & 255}`), etcd.grant(86_400).id);
      }
      const config = parse({ Network: "10.5.0.0/16", SubnetLen: 26 });
      await withTime(etcd, node(etcd).store.acquire(request(config, A), forever));
      return [...etcd.calls].reduce((sum, [, calls]) => sum + calls, 0);
    };
    expect(await count(1000)).toBe(await count(0));
  });

  test("reads the leases once for both steps of a start, unless that takes long", async () => {
    for (const [pauseMs, ranges] of [[0, 2], [60_000, 3]] as const) {
      const etcd = new FakeEtcd();
      etcd.put(`${SUBNETS}10.5.7.0-24`, value("192.0.2.1"), etcd.grant(86_400).id);
      const { store } = node(etcd);
      const { config, attributes: { publicAddresses } } = request(IPV4, A);
      const lookup = { config, publicAddresses };
      const previous = await withTime(etcd, store.previousLease(lookup, forever));
      await etcd.clock.advance(pauseMs);
      const own = await withTime(etcd, store.acquire(request(IPV4, A), forever));
      expect([previous?.key as string, keyOf(own)]).toEqual(["10.5.7.0-24", "10.5.7.0-24"]);
      expect(etcd.calls.get("range")).toBe(ranges); // One of them for the session.
      await own[Symbol.asyncDispose]();
    }
  });

  test("finds this node's lease however JSON spells the address", async () => {
    const etcd = new FakeEtcd();
    const spelt = value("192.0.2.1").replace("192.0.2.1", "192\\u002e0.2.1");
    etcd.put(`${SUBNETS}10.5.7.0-24`, spelt, etcd.grant(86_400).id);
    etcd.put(`${SUBNETS}10.5.8.0-24`, value("192.0.2.10"), etcd.grant(86_400).id);
    const own = await withTime(etcd, node(etcd).store.acquire(request(IPV4, A), forever));
    expect(keyOf(own)).toBe("10.5.7.0-24");
    await own[Symbol.asyncDispose]();
  });

  test("what has changed since the leases were read is noticed by the write", async () => {
    const etcd = new FakeEtcd();
    const config = parse({ Network: "10.5.0.0/28", SubnetLen: 30 });
    const { store } = node(etcd);
    const { publicAddresses } = request(config, A).attributes;
    await withTime(etcd, store.previousLease({ config, publicAddresses }, forever));
    for (const last of [4, 12]) {
      etcd.put(`${SUBNETS}10.5.0.${last}-30`, value(`198.51.100.${last}`), etcd.grant(86_400).id);
    }
    etcd.clock.random = () => 0; // It chooses 10.5.0.4/30 first.
    const own = await withTime(etcd, store.acquire(request(config, A), forever));
    expect(keyOf(own)).toBe("10.5.0.8-30");
    await own[Symbol.asyncDispose]();
    expect(subnetKeys(etcd)).toEqual(["10.5.0.12-30", "10.5.0.4-30", "10.5.0.8-30"]);
  });

  test("fails when every subnet is taken, and says what to do", async () => {
    const etcd = new FakeEtcd();
    const config = parse({ Network: "10.5.0.0/28", SubnetLen: 30 });
    for (const last of [4, 8, 12]) {
      etcd.put(`${SUBNETS}10.5.0.${last}-30`, value(`198.51.100.${last}`), etcd.grant(86_400).id);
    }
    const error = await failure(
      withTime(etcd, node(etcd).store.acquire(request(config, A), forever)),
    );
    expect(error).toBeInstanceOf(OutOfSubnetsError);
    expect(error.message).toStartWith(
      "out of subnets: 3 leases leave none free from 10.5.0.4 to 10.5.0.12",
    );
    expect(etcd.leases).toHaveLength(4); // theirs, and the session's
  });

  test("a race that is lost means another subnet", async () => {
    const etcd = new FakeEtcd();
    const config = parse({ Network: "10.5.0.0/25", SubnetLen: 30 });
    const chances = Array.from({ length: 31 }, (_, i) => node(etcd, `host-${i}`));
    const all = Promise.all(
      chances.map(({ store }, i) =>
        store.acquire(request(config, { 4: `198.51.100.${i + 1}` }), forever)
      ),
    );
    const subnets = (await withTime(etcd, all)).map((own) => own.lease.subnets[4]);
    expect(new Set(subnets).size).toBe(31);
    expect(subnetKeys(etcd)).toHaveLength(31);
    expect(etcd.leases).toHaveLength(62);
  });

  test("two dual-stack nodes that chose one IPv4 subnet do not both keep it", async () => {
    const config = parse({
      Network: "10.5.0.0/24",
      SubnetLen: 27,
      EnableIPv6: true,
      IPv6Network: "fc00::/60",
    });
    let collisions = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const etcd = new FakeEtcd();
        etcd.clock.random = new Chance(seed).next;
        const all = Promise.all([1, 2, 3, 4].map((i) =>
          node(etcd, `host-${i}`).store.acquire(
            request(config, { 4: `192.0.2.${i}`, 6: `2001:db8::${i}` }),
            forever,
          )
        ));
        const owned = await withTime(etcd, all);
        expect(new Set(owned.map(({ lease }) => lease.subnets[4])).size).toBe(4);
        expect(new Set(owned.map(({ lease }) => lease.subnets[6])).size).toBe(4);
        expect(subnetKeys(etcd)).toEqual(owned.map(keyOf).sort());
        const tried = etcd.created.filter((key) => key.startsWith(SUBNETS));
        if (tried.length > owned.length) collisions++;
        await Promise.all(owned.map((own) => own[Symbol.asyncDispose]()));
      }),
      { numRuns: 30 },
    );
    expect(collisions).toBeGreaterThan(0);
  });

  test("gives one lease whatever call fails, before or after etcd has carried it out", async () => {
    for (const call of ["grantLease", "range", "transaction", "keepLeaseAlive"]) {
      for (const when of ["before", "after"] as const) {
        for (const skip of [0, 1, 2]) {
          const etcd = new FakeEtcd();
          const { store, client } = node(etcd);
          for (let i = 0; i <= skip; i++) client.failNext(call, when);
          const own = await withTime(etcd, store.acquire(request(IPV4, A), forever));
          expect(subnetKeys(etcd)).toEqual([keyOf(own)]);
          expect(etcd.get(SUBNETS + keyOf(own))?.version).toBe(1n);
          expect(etcd.created.filter((key) => key.startsWith(SUBNETS))).toHaveLength(1);
          await own[Symbol.asyncDispose]();
        }
      }
    }
  });

  test("waits for an etcd that is out of reach, and says so once", async () => {
    const etcd = new FakeEtcd();
    const { store, client, records } = node(etcd);
    client.down = true;
    const pending = store.acquire(request(IPV4, A), forever);
    await etcd.clock.advance(50_000);
    client.down = false;
    await withTime(etcd, pending);
    const texts = records.map(({ msg }) => msg).filter((text) => text.includes("acquiring"));
    expect(texts).toEqual([
      "acquiring a subnet in etcd failed: etcd is out of reach",
      expect.stringContaining("acquiring a subnet in etcd works again"),
    ]);
  });

  test("ends when it is aborted", async () => {
    const etcd = new FakeEtcd();
    const { store, client } = node(etcd);
    client.down = true;
    const stop = new AbortController();
    const pending = failure(store.acquire(request(IPV4, A), stop.signal));
    await etcd.clock.advance(5000);
    stop.abort(new Error("stopping"));
    expect((await pending).message).toBe("stopping");
  });
});

describe("the lease that is held", () => {
  async function held(
    etcd: FakeEtcd,
  ): Promise<{ own: OwnLease; key: string; node: ReturnType<typeof node> }> {
    // Sessions are renewed seldom here, so that days pass quickly.
    const first = node(etcd, "host-a", 3000);
    const own = await withTime(etcd, first.store.acquire(request(IPV4, A), forever));
    await settle();
    return { own, key: SUBNETS + keyOf(own), node: first };
  }

  test("is renewed before it expires, without being written again", async () => {
    const etcd = new FakeEtcd();
    const { own, key } = await held(etcd);
    const before = etcd.get(key);
    for (let day = 0; day < 5; day++) await etcd.clock.advance(DAY_MS);
    expect(etcd.get(key)).toEqual(before as never);
    expect(etcd.leases).toHaveLength(2);
    await own[Symbol.asyncDispose]();
    await etcd.clock.advance(DAY_MS);
    expect(subnetKeys(etcd)).toEqual([]);
  });

  test("is renewed after failures, within a minute of the end of the outage", async () => {
    const etcd = new FakeEtcd();
    const { key, node } = await held(etcd);
    await etcd.clock.advance(DAY_MS - 3_600_000 - 60_000);
    node.client.down = true;
    await etcd.clock.advance(30 * 60_000);
    node.client.down = false;
    await etcd.clock.advance(60_000);
    expect(etcd.timeToLive(etcd.get(key)?.lease ?? 0n).remainingSeconds).toBeGreaterThan(86_000);
    expect(node.warnings().filter((text) => text.includes("renewing")).length).toBeLessThan(8);
  });

  test("is taken again when it expired during an outage", async () => {
    const etcd = new FakeEtcd();
    const { own, key, node } = await held(etcd);
    node.client.down = true;
    await etcd.clock.advance(2 * DAY_MS);
    expect(subnetKeys(etcd)).toEqual([]);
    node.client.down = false;
    await etcd.clock.advance(70_000);
    expect(etcd.get(key)?.value).toBe(value("192.0.2.1"));
    expect(own.lease.created).toBe(etcd.get(key)?.createRevision as bigint);
    await etcd.clock.advance(3 * DAY_MS);
    expect(SUBNETS + subnetKeys(etcd)[0]).toBe(key);
  });

  test("is restored at once when an operator deletes it", async () => {
    const etcd = new FakeEtcd();
    const { own, key, node } = await held(etcd);
    for (let i = 0; i < 3; i++) {
      etcd.delete(key);
      await settle();
      await settle();
      expect(etcd.get(key)?.value).toBe(value("192.0.2.1"));
    }
    expect(node.warnings()[0]).toBe("this node's lease was deleted; restoring it");
    expect(await Promise.race([own.lost, settle()])).toBe(undefined);
    await etcd.clock.advance(3 * DAY_MS);
    expect(subnetKeys(etcd)).toEqual([keyOf(own)]);
  });

  test("that is changed hundreds of times is restored each time, with few log lines", async () => {
    for (
      const change of [
        (etcd: FakeEtcd, key: string) => etcd.delete(key),
        (etcd: FakeEtcd, key: string) => void etcd.put(key, "oops"),
      ]
    ) {
      const etcd = new FakeEtcd();
      const { key, node } = await held(etcd);
      const before = node.records.length;
      for (let i = 0; i < 300; i++) {
        change(etcd, key);
        await etcd.clock.advance(10);
        expect(etcd.get(key)?.value).toBe(value("192.0.2.1"));
      }
      expect(node.records.slice(before).length).toBeLessThan(25);
      expect(node.warnings().at(-1)).toEndWith(" (160 times so far)");
    }
  });

  test("is restored once although the response was lost", async () => {
    const etcd = new FakeEtcd();
    const { key, node } = await held(etcd);
    node.client.failNext("transaction", "after");
    etcd.delete(key);
    await etcd.clock.advance(10_000);
    expect(etcd.get(key)).toMatchObject({ value: value("192.0.2.1"), version: 1n });
    expect(etcd.created.filter((created) => created === key)).toHaveLength(2);
    await etcd.clock.advance(3 * DAY_MS);
    expect(etcd.get(key)).toBeDefined();
  });

  test("is lost when it belongs to another node", async () => {
    const etcd = new FakeEtcd();
    const { own, key } = await held(etcd);
    const theirs = value("192.0.2.99", "02:00:00:00:00:99");
    etcd.put(key, theirs, etcd.grant(86_400).id);
    expect(await withTime(etcd, own.lost)).toContain(
      "now belongs to the node with the public address 192.0.2.99",
    );
    await etcd.clock.advance(DAY_MS / 2);
    expect(etcd.get(key)?.value).toBe(theirs);
  });

  test("is lost when another node took it while etcd was out of reach", async () => {
    const etcd = new FakeEtcd();
    const { own, key, node } = await held(etcd);
    node.client.down = true;
    etcd.delete(key);
    etcd.put(key, value("192.0.2.99"), etcd.grant(86_400).id);
    etcd.compact();
    await etcd.clock.advance(60_000);
    node.client.down = false;
    expect(await withTime(etcd, own.lost)).toContain("192.0.2.99");
  });

  test("attached to a shorter etcd lease is renewed in time", async () => {
    const etcd = new FakeEtcd();
    const { key, node } = await held(etcd);
    const { id } = etcd.grant(600);
    etcd.put(key, value("192.0.2.1"), id);
    await etcd.clock.advance(DAY_MS / 4);
    expect(etcd.get(key)?.lease).toBe(id);
    expect(node.warnings()).toEqual([]);
  });

  test("is lost when another lease has some of its addresses before it is back", async () => {
    const etcd = new FakeEtcd();
    const { store } = node(etcd, "host-a", 3000);
    const wish = request(DUAL, { ...A, 6: "2001:db8::1" });
    const own = await withTime(etcd, store.acquire(wish, forever));
    await settle();
    const other = `${own.lease.subnets[4]?.replace("/", "-")}&fc00:0:0:ffff::-64`;
    etcd.delete(SUBNETS + keyOf(own));
    etcd.put(SUBNETS + other, value("192.0.2.2"), etcd.grant(86_400).id);
    expect(await withTime(etcd, own.lost)).toBe(`lease ${other} now overlaps this node's subnet`);
    await etcd.clock.advance(1000);
    expect(subnetKeys(etcd)).toEqual([other]);
  });

  test("is written again when something unreadable was put in its place", async () => {
    const etcd = new FakeEtcd();
    const { own, key } = await held(etcd);
    // The last three can be read, and are no other node's.
    for (
      const text of ["oops", "[]", "{}", '{"PublicIP":"0.0.0.0"}', '{"PublicIPv6":"2001:db8::9"}']
    ) {
      etcd.put(key, text);
      await etcd.clock.advance(1000);
      expect(etcd.get(key)?.value).toBe(value("192.0.2.1"));
    }
    expect(await Promise.race([own.lost, settle()])).toBe(undefined);
  });

  test("that Go flannel with our address wrote again is left alone, with a warning", async () => {
    const etcd = new FakeEtcd();
    const { own, key, node } = await held(etcd);
    expect(own.problem).toBe(undefined);
    const theirs = value("192.0.2.1", "02:00:00:00:00:77");
    etcd.put(key, theirs, etcd.grant(86_400).id);
    await etcd.clock.advance(3 * DAY_MS);
    expect(etcd.get(key)?.value).toBe(theirs);
    expect(own.problem).toMatch(
      /^another process with this node's public address changed this node's lease; .*restart/,
    );
    etcd.delete(key);
    await etcd.clock.advance(1000);
    expect(etcd.get(key)?.value).toBe(value("192.0.2.1"));
    expect(own.problem).toBe(undefined);
    etcd.put(key, theirs, etcd.grant(86_400).id);
    await etcd.clock.advance(1000);
    expect(own.problem).toBeDefined();
    await withTime(etcd, own.update(attributes(A, "02:00:00:00:00:02"), forever));
    expect(own.problem).toBe(undefined);
    etcd.put(key, ` ${value("192.0.2.1", "02:00:00:00:00:02")}`, etcd.grant(86_400).id);
    await etcd.clock.advance(1000);
    expect(own.problem).toBe(undefined);
    expect(node.warnings().filter((text) => text.startsWith("another process"))).toHaveLength(3);
  });

  test("gets new attributes under the same key and etcd lease, whatever call fails", async () => {
    for (const when of ["before", "after", undefined] as const) {
      const etcd = new FakeEtcd();
      const { own, key, node } = await held(etcd);
      const before = etcd.get(key);
      if (when !== undefined) node.client.failNext("transaction", when);
      await withTime(etcd, own.update(attributes(A, "02:00:00:00:00:55"), forever));
      expect(etcd.get(key)).toMatchObject({
        value: value("192.0.2.1", "02:00:00:00:00:55"),
        lease: before?.lease as bigint,
        version: 2n,
      });
      expect(own.lease.changed).toBe(etcd.get(key)?.modRevision as bigint);
      await own[Symbol.asyncDispose]();
    }
  });

  test("moves to a new public address with its session", async () => {
    const etcd = new FakeEtcd();
    const { own, key } = await held(etcd);
    await withTime(etcd, own.update(attributes(B), forever));
    expect(etcd.get(key)?.value).toBe(value("192.0.2.2"));
    await etcd.clock.advance(100_000);
    expect(Object.keys(etcd.contents).sort()).toEqual([`${PREFIX}/sessions/192.0.2.2`, key]);
  });
});

describe("whatever happens, in whatever order", () => {
  const seconds = fc.oneof(fc.integer({ min: 0, max: 90 }), fc.integer({ min: 0, max: 100_000 }));
  const event = fc.oneof(
    fc.constantFrom("delete", "revoke", "overwrite", "compact", "down", "up", "reserve" as const),
    fc.record({ wait: seconds }),
    fc.record({ mac: fc.integer({ min: 10, max: 99 }) }),
    fc.record({
      fail: fc.constantFrom("range", "transaction", "grantLease", "keepLeaseAlive", "revokeLease"),
      when: fc.constantFrom<Fault>("before", "after"),
    }),
  );

  async function happen(
    what: typeof event extends fc.Arbitrary<infer T> ? T : never,
    world: {
      etcd: FakeEtcd;
      client: FakeEtcdClient;
      own: OwnLease;
      key: string;
      updates: Promise<void>[];
    },
  ): Promise<void> {
    const { etcd, client, own, key, updates } = world;
    if (typeof what === "object") {
      if ("wait" in what) await etcd.clock.advance(what.wait * 1000);
      else if ("fail" in what) client.failNext(what.fail, what.when);
      else updates.push(own.update(attributes(A, `02:00:00:00:00:${what.mac}`), forever));
      return;
    }
    switch (what) {
      case "delete":
        return etcd.delete(key);
      case "revoke":
        return etcd.revoke(etcd.get(key)?.lease ?? 0n);
      case "overwrite":
        return etcd.put(key, "{", etcd.get(key)?.lease);
      case "reserve":
        return etcd.put(key, etcd.get(key)?.value ?? "");
      case "compact":
        return etcd.compact();
      case "down":
        client.down = true;
        return;
      case "up":
        client.down = false;
    }
  }

  test(
    "the node has its lease with what it last advertised, and leaves nothing behind",
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(event, { maxLength: 12 }), fc.integer(), async (events, seed) => {
          const etcd = new FakeEtcd();
          etcd.clock.random = new Chance(seed).next;
          const { store, client } = node(etcd, "host-a", 3000);
          const own = await withTime(etcd, store.acquire(request(IPV4, A), forever));
          const key = SUBNETS + keyOf(own);
          const updates: Promise<void>[] = [];
          for (const item of events) await happen(item, { etcd, client, own, key, updates });
          client.heal();
          await withTime(etcd, Promise.all(updates));
          await etcd.clock.advance(20 * 60_000);
          const macs = events.flatMap((item) =>
            typeof item === "object" && "mac" in item ? [item.mac] : []
          );
          const mac = macs.length === 0 ? "02:00:00:00:00:01" : `02:00:00:00:00:${macs.at(-1)}`;
          expect(etcd.get(key)?.value).toBe(value("192.0.2.1", mac));
          expect(subnetKeys(etcd)).toEqual([keyOf(own)]);
          expect(own.lease.changed).toBe(etcd.get(key)?.modRevision as bigint);
          expect(await Promise.race([own.lost, settle()])).toBe(undefined);
          await etcd.clock.advance(3 * DAY_MS);
          expect(etcd.get(key)).toBeDefined();
          expect(etcd.leases.length).toBeLessThanOrEqual(2);
          await own[Symbol.asyncDispose]();
          await store[Symbol.asyncDispose]();
          expect(Object.keys(etcd.contents)).toEqual([key]);
        }),
        { numRuns: 25 },
      );
    },
    60_000,
  );
});

describe("a node that comes back with another public address", () => {
  const MAC = "02:00:00:00:00:01";
  const identity = deviceIdentity(MAC);
  const wish = (more = {}) => request(IPV4, B, { identity, ...more });
  const L1 = `${SUBNETS}10.5.7.0-24`;

  test("keeps the subnet of its lease, and publishes where it is now", async () => {
    for (const etcdLease of ["a day", "reservation"]) {
      const etcd = new FakeEtcd();
      const id = etcdLease === "a day" ? etcd.grant(86_400).id : 0n;
      etcd.put(L1, value("192.0.2.1"), id);
      const { store, records } = node(etcd);
      const own = await withTime(etcd, store.acquire(wish(), forever));
      expect(keyOf(own)).toBe("10.5.7.0-24");
      expect(etcd.get(L1)).toMatchObject({ value: value("192.0.2.2"), lease: id });
      expect(subnetKeys(etcd)).toEqual(["10.5.7.0-24"]);
      expect(records.at(-1)?.msg).toMatch(
        /^reusing this node's .* of 10\.5\.7\.0\/24, held before with .* address 192\.0\.2\.1$/,
      );
      await own[Symbol.asyncDispose]();
    }
  });

  test("in an IPv6-only and in a dual-stack network as well", async () => {
    for (const config of [IPV6_ONLY, DUAL]) {
      const etcd = new FakeEtcd();
      const before = { ...config === DUAL && A, 6: "2001:db8::1" };
      const after = { ...config === DUAL && B, 6: "2001:db8::2" };
      const first = await withTime(
        etcd,
        node(etcd).store.acquire(request(config, before), forever),
      );
      await first[Symbol.asyncDispose]();
      const again = await withTime(
        etcd,
        node(etcd).store.acquire(request(config, after, { identity }), forever),
      );
      expect(keyOf(again)).toBe(keyOf(first));
      expect(subnetKeys(etcd)).toEqual([keyOf(first)]);
      await again[Symbol.asyncDispose]();
    }
  });

  test("at once after a crash, when its own session still exists", async () => {
    const etcd = new FakeEtcd();
    const crashed = await withTime(etcd, node(etcd).store.acquire(request(IPV4, A), forever));
    const startMs = etcd.clock.nowMs();
    const pending = node(etcd).store.acquire(wish(), forever);
    for (let i = 0; i < 10; i++) await settle();
    expect(keyOf(await pending)).toBe(keyOf(crashed));
    expect(etcd.clock.nowMs() - startMs).toBe(0);
  });

  test("after a crash of the whole host, once its former session has run out", async () => {
    const etcd = new FakeEtcd();
    const dead = node(etcd, "host-a before");
    const lease = await withTime(etcd, dead.store.acquire(request(IPV4, A), forever));
    dead.client.down = true;
    const rebooted = node(etcd);
    const own = await withTime(etcd, rebooted.store.acquire(wish(), forever));
    expect(keyOf(own)).toBe(keyOf(lease));
    expect(rebooted.records[0]?.msg).toBe(
      `lease ${keyOf(lease)} with this node's VtepMAC ${MAC} belonged to node host-a before a ` +
        "moment ago; waiting for up to 30 s to see whether that node is still alive",
    );
  });

  test("does not start while another live one has its identity", async () => {
    const etcd = new FakeEtcd();
    const first = await withTime(etcd, node(etcd).store.acquire(request(IPV4, A), forever));
    const copy = node(etcd, "host-b");
    const error = await failure(withTime(etcd, copy.store.acquire(wish(), forever)));
    expect(error).toBeInstanceOf(DuplicateNodeError);
    expect(error.message).toBe(
      `node host-a (interface eth0) is alive, and its lease ${keyOf(first)} of 192.0.2.1 has the ` +
        `same VtepMAC ${MAC} as this node; the other nodes can reach only one of the two; if ` +
        "this host is a copy of that one, delete the device on this host and start flanneld again",
    );
    expect(subnetKeys(etcd)).toEqual([keyOf(first)]);
    expect(etcd.get(SUBNETS + keyOf(first))?.version).toBe(1n);
  });

  test("and another with its former address do not both fail", async () => {
    const etcd = new FakeEtcd();
    const macs = [MAC, "02:00:00:00:00:02"] as const;
    const L2 = `${SUBNETS}10.5.8.0-24`;
    etcd.put(L1, value("192.0.2.1", macs[0]), etcd.grant(86_400).id);
    etcd.put(L2, value("192.0.2.2", macs[1]), etcd.grant(86_400).id);
    const start = (host: string, address: { 4: string }, mac: string, subnet: string) => {
      const { store } = node(etcd, host);
      const more = { mac, identity: deviceIdentity(mac), previous: { 4: subnet } };
      return store.acquire(request(IPV4, address, more), forever).catch(async (error) => {
        await store[Symbol.asyncDispose](); // As at the end of the process.
        throw error;
      });
    };
    const one = () => start("host-a", B, macs[0], "10.5.7.0/24");
    const two = () => start("host-b", A, macs[1], "10.5.8.0/24");
    const results = await withTime(etcd, Promise.allSettled([one(), two()]));
    expect(results.map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
    expect(keyOf(await withTime(etcd, one()))).toBe("10.5.7.0-24");
    expect(etcd.get(L1)?.value).toBe(value("192.0.2.2", macs[0]));
    expect(etcd.get(L2)?.value).toBe(value("192.0.2.1", macs[1]));
  });

  test("stops waiting when the lease with its identity is deleted or rewritten", async () => {
    const rewritten = value("192.0.2.1", "02:00:00:00:00:77");
    const changes: ((etcd: FakeEtcd) => void)[] = [
      (etcd) => etcd.delete(L1),
      (etcd) => void etcd.put(L1, rewritten, etcd.grant(86_400).id),
    ];
    for (const change of changes) {
      const etcd = new FakeEtcd();
      etcd.put(L1, value("192.0.2.1"), etcd.grant(86_400).id);
      const session = '{"identity":"of another","hostname":"host-o","interface":"eth0"}';
      etcd.put(`${PREFIX}/sessions/192.0.2.1`, session, etcd.grant(3600).id);
      const startMs = etcd.clock.nowMs();
      const pending = node(etcd).store.acquire(wish(), forever);
      await etcd.clock.advance(5000);
      change(etcd);
      expect(await withTime(etcd, pending)).toBeDefined();
      expect(etcd.clock.nowMs() - startMs).toBeLessThan(10_000);
      // What is free may be chosen by chance, also what was deleted.
      if (change !== changes[0]) expect(etcd.get(L1)?.value).toBe(rewritten);
    }
  });

  test("waits if another node takes the former address at the same time", async () => {
    const etcd = new FakeEtcd();
    etcd.put(L1, value("192.0.2.1"), etcd.grant(86_400).id);
    const original = etcd.transaction.bind(etcd);
    etcd.transaction = (transaction) => {
      if (transaction.compare.some(({ key }) => key === L1)) {
        etcd.transaction = original;
        const session = '{"identity":"of the original","hostname":"host-o","interface":"eth0"}';
        etcd.put(`${PREFIX}/sessions/192.0.2.1`, session, etcd.grant(10).id);
      }
      return original(transaction);
    };
    const { store, records } = node(etcd);
    await withTime(etcd, store.acquire(wish(), forever));
    expect(records[0]?.msg).toContain("belonged to node host-o a moment ago; waiting");
  });

  test("of several leases keeps the one of the subnet file, and deletes the others", async () => {
    for (const kept of ["10.5.7.0-24", "10.5.8.0-24"]) {
      const etcd = new FakeEtcd();
      etcd.put(L1, value("192.0.2.1"), etcd.grant(86_400).id);
      etcd.put(`${SUBNETS}10.5.8.0-24`, value("192.0.2.2"), etcd.grant(86_400).id);
      const previous = { 4: kept.replace("-", "/") };
      const own = await withTime(etcd, node(etcd).store.acquire(wish({ previous }), forever));
      expect(subnetKeys(etcd)).toEqual([kept]);
      await own[Symbol.asyncDispose]();
    }
  });

  test("prefers its device's lease to another one's with its address", async () => {
    const etcd = new FakeEtcd();
    etcd.put(`${SUBNETS}10.5.8.0-24`, value("192.0.2.2", "02:00:00:00:00:88"), etcd.grant(9e4).id);
    etcd.put(L1, value("192.0.2.1"), etcd.grant(86_400).id);
    await withTime(etcd, node(etcd).store.acquire(wish(), forever));
    expect(subnetKeys(etcd)).toEqual(["10.5.7.0-24"]);
  });

  test("uses a reservation for its new address, and names one with its identity", async () => {
    const etcd = new FakeEtcd();
    etcd.put(L1, value("192.0.2.1"));
    etcd.put(`${SUBNETS}10.5.9.0-24`, '{"PublicIP":"192.0.2.2"}');
    const { store, warnings } = node(etcd);
    expect(keyOf(await withTime(etcd, store.acquire(wish(), forever)))).toBe("10.5.9.0-24");
    expect(etcd.get(L1)?.version).toBe(1n);
    expect(warnings()).toEqual([
      expect.stringContaining(
        `the reservation of 10.5.7.0/24 for 192.0.2.1 contains this node's VtepMAC ${MAC}`,
      ),
    ]);
  });

  test("whose previous lease does not fit the network gives it up", async () => {
    const etcd = new FakeEtcd();
    etcd.put(`${SUBNETS}10.6.7.0-24`, value("192.0.2.1"), etcd.grant(86_400).id);
    const own = await withTime(etcd, node(etcd).store.acquire(wish(), forever));
    expect(subnetKeys(etcd)).toEqual([keyOf(own)]);
  });

  test("gets another subnet without a device identity, or without sessions", async () => {
    for (const hidden of [false, true]) {
      const etcd = new FakeEtcd();
      etcd.put(L1, value("192.0.2.1"), etcd.grant(86_400).id);
      const { store, client } = node(etcd);
      if (hidden) client.denyNext("transaction");
      const own = await withTime(etcd, store.acquire(hidden ? wish() : request(IPV4, B), forever));
      expect(keyOf(own)).not.toBe("10.5.7.0-24");
      expect(etcd.get(L1)?.version).toBe(1n);
    }
  });
});

describe("the live session", () => {
  const session = `${PREFIX}/sessions/192.0.2.1`;

  test("is next to the subnets, exists while the node does, and ends with it", async () => {
    const etcd = new FakeEtcd();
    const { store } = node(etcd);
    const own = await withTime(etcd, store.acquire(request(IPV4, A), forever));
    await etcd.clock.advance(DAY_MS / 100);
    expect(JSON.parse(etcd.get(session)?.value as string)).toMatchObject({
      hostname: "host-a",
      identity: "identity of host-a",
      interface: "eth0",
    });
    await own[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    expect(Object.keys(etcd.contents)).toEqual([SUBNETS + keyOf(own)]);
  });

  test("of another live node stops the second one, with the choice of interfaces", async () => {
    const etcd = new FakeEtcd();
    const first = await withTime(etcd, node(etcd).store.acquire(request(IPV4, A), forever));
    const second = node(etcd, "host-b");
    const lookup = { config: IPV4, publicAddresses: attributes(A).publicAddresses };
    const attempts: (() => Promise<unknown>)[] = [
      () => second.store.previousLease(lookup, forever),
      () => second.store.previousLease({ ...lookup, config: DUAL }, forever),
      () => second.store.acquire(request(IPV4, A), forever),
    ];
    for (const attempt of attempts) {
      const error = await failure(withTime(etcd, attempt()));
      expect(error).toBeInstanceOf(DuplicateNodeError);
      expect(error.message).toBe(
        "node host-a (interface eth0) is alive, and has the same public address 192.0.2.1 as " +
          "this node's interface eth0; the other nodes cannot distinguish the two; choose " +
          "another interface of this host with --iface: eth1 (192.168.56.11, fd56::11)",
      );
    }
    // Of an address that is translated on the way, no interface can be another one's.
    const { store } = testNode({
      etcd: etcd.client(),
      prefix: PREFIX,
      clock: etcd.clock,
      host: "host-b",
      interface: "",
    });
    const error = await failure(withTime(etcd, store.acquire(request(IPV4, A), forever)));
    expect(error.message).toEndWith(
      "has the same public address 192.0.2.1 as this node; the other nodes cannot distinguish " +
        "the two; no interface of this host has that address: set --public-ip to this node's own " +
        "address, or remove --public-ip",
    );
    expect(subnetKeys(etcd)).toEqual([keyOf(first)]);
    expect(first.lease.created).toBe(
      etcd.get(SUBNETS + keyOf(first))?.modRevision as bigint,
    );
  });

  test("of the same host does not keep a restarted daemon waiting", async () => {
    const etcd = new FakeEtcd();
    const startMs = etcd.clock.nowMs();
    const crashed = await withTime(etcd, node(etcd).store.acquire(request(IPV4, A), forever));
    const restarted = node(etcd).store.acquire(request(IPV4, A), forever);
    for (let i = 0; i < 10; i++) await settle();
    expect(keyOf(await restarted)).toBe(keyOf(crashed));
    expect(etcd.clock.nowMs() - startMs).toBeLessThan(60_000);
  });

  test("of a host that died is waited for, and a rebuilt host gets its lease", async () => {
    const etcd = new FakeEtcd();
    const dead = node(etcd);
    const lease = await withTime(etcd, dead.store.acquire(request(IPV4, A), forever));
    dead.client.down = true;
    const rebuilt = node(etcd, "host-a rebuilt");
    const startMs = etcd.clock.nowMs();
    const own = await withTime(etcd, rebuilt.store.acquire(request(IPV4, A), forever));
    expect(keyOf(own)).toBe(keyOf(lease));
    expect(etcd.clock.nowMs() - startMs).toBeLessThan(35_000);
    expect(rebuilt.records[0]?.msg).toBe(
      "public address 192.0.2.1 belonged to node host-a a moment ago; waiting for up to 30 s to " +
        "see whether that node is still alive",
    );
  });

  test("is not mistaken for alive because a new leader restarted its time", async () => {
    const etcd = new FakeEtcd();
    const dead = node(etcd);
    await withTime(etcd, dead.store.acquire(request(IPV4, A), forever));
    dead.client.down = true;
    const pending = node(etcd, "host-b").store.acquire(request(IPV4, A), forever);
    await etcd.clock.advance(20_000);
    etcd.keepAlive(etcd.get(session)?.lease as bigint);
    expect(subnetKeys(etcd)).toEqual([keyOf(await withTime(etcd, pending))]);
  });

  test("is created again after an outage, and the lease stays", async () => {
    const etcd = new FakeEtcd();
    const { store, client } = node(etcd);
    const own = await withTime(etcd, store.acquire(request(IPV4, A), forever));
    client.down = true;
    await etcd.clock.advance(300_000);
    expect(etcd.get(session)).toBe(undefined);
    client.down = false;
    await etcd.clock.advance(30_000);
    expect(etcd.get(session)).toBeDefined();
    expect(await Promise.race([own.lost, settle()])).toBe(undefined);
  });

  test("that another node got during an outage means that the subnet is lost", async () => {
    const etcd = new FakeEtcd();
    const cut = node(etcd);
    const own = await withTime(etcd, cut.store.acquire(request(IPV4, A), forever));
    cut.client.down = true;
    const other = await withTime(
      etcd,
      node(etcd, "host-b").store.acquire(request(IPV4, A), forever),
    );
    expect(keyOf(other)).toBe(keyOf(own));
    cut.client.down = false;
    expect(await withTime(etcd, own.lost)).toBe(
      "node host-b took over this node's public address 192.0.2.1",
    );
  });

  describe("that something else changes", () => {
    async function living() {
      const etcd = new FakeEtcd();
      const one = node(etcd);
      const own = await withTime(etcd, one.store.acquire(request(IPV4, A), forever));
      await settle();
      const { value, lease } = etcd.get(session) as { value: string; lease: bigint };
      return { etcd, ...one, own, value, lease };
    }

    test("is restored at once with its lease, and exists while the node does", async () => {
      const changes: ((etcd: FakeEtcd, lease: bigint, value: string) => void)[] = [
        (etcd) => etcd.delete(session),
        (etcd) => Object.keys(etcd.contents).forEach((key) => etcd.delete(key)),
        (etcd, lease) => etcd.revoke(lease),
        (etcd) => etcd.put(session, "oops"),
        (etcd, _, value) => etcd.put(session, value), // It would never expire.
      ];
      for (const change of changes) {
        const { etcd, store, own, value, lease, records } = await living();
        change(etcd, lease, value);
        await etcd.clock.advance(100);
        const isRevoked = !etcd.leases.includes(lease);
        expect(etcd.get(session)?.value).toBe(value);
        if (!isRevoked) expect(etcd.get(session)?.lease).toBe(lease);
        expect(records.map(({ msg }) => msg)).toContain(
          `the live session ${session} was deleted; restored it`,
        );
        await etcd.clock.advance(DAY_MS / 100);
        expect(etcd.get(session)?.value).toBe(value);
        expect(subnetKeys(etcd)).toEqual([keyOf(own)]);
        await own[Symbol.asyncDispose]();
        await store[Symbol.asyncDispose]();
        expect(etcd.get(session)).toBe(undefined);
      }
    });

    test("hundreds of times is restored once a second, with few log lines", async () => {
      const { etcd, value, records } = await living();
      const before = [records.length, etcd.calls.get("transaction") ?? 0] as const;
      for (let i = 0; i < 500; i++) {
        etcd.delete(session);
        await etcd.clock.advance(100);
      }
      expect(records.length - before[0]).toBeLessThan(10);
      expect((etcd.calls.get("transaction") ?? 0) - before[1]).toBeLessThan(60);
      await etcd.clock.advance(1100);
      expect(etcd.get(session)?.value).toBe(value);
    });

    test("is restored though calls fail at first", async () => {
      for (const call of ["keepLeaseAlive", "range", "transaction"]) {
        const { etcd, client, value } = await living();
        client.failNext(call, "before");
        client.failNext(call, "after");
        etcd.delete(session);
        await etcd.clock.advance(10_000);
        expect(etcd.get(session)?.value).toBe(value);
      }
    });

    test("means that the subnet is lost if another node has it by then", async () => {
      const { etcd, own } = await living();
      const other = '{"identity":"x","hostname":"host-b","interface":"eth0"}';
      etcd.put(session, other, etcd.grant(30).id);
      expect(await withTime(etcd, own.lost)).toBe(
        "node host-b took over this node's public address 192.0.2.1",
      );
      expect(etcd.get(session)?.value).not.toContain("host-a");
    });

    test("is left to a later daemon of this node, and taken again when that ends", async () => {
      const { etcd, own, value } = await living();
      const later = value.replace(/"pid":\d+/, '"pid":1');
      const { id } = etcd.grant(3600);
      etcd.put(session, later, id);
      await etcd.clock.advance(300_000);
      expect(etcd.get(session)?.value).toBe(later);
      etcd.revoke(id);
      await etcd.clock.advance(100);
      expect(etcd.get(session)?.value).toBe(value);
      expect(await Promise.race([own.lost, settle()])).toBe(undefined);
    });

    test("costs nothing while nothing does", async () => {
      const { etcd } = await living();
      const before = new Map(etcd.calls);
      await etcd.clock.advance(3_000_000);
      const renewals = (etcd.calls.get("keepLeaseAlive") ?? 0) -
        (before.get("keepLeaseAlive") ?? 0);
      expect(renewals).toBeWithin(290, 301);
      for (const call of ["range", "transaction", "grantLease"]) {
        expect(etcd.calls.get(call)).toBe(before.get(call));
      }
    });
  });

  test("that the etcd user may not write is skipped with a warning", async () => {
    const etcd = new FakeEtcd();
    const { store, client, warnings } = node(etcd);
    client.denyNext("transaction");
    const own = await withTime(etcd, store.acquire(request(IPV4, A), forever));
    expect(subnetKeys(etcd)).toEqual([keyOf(own)]);
    expect(warnings()).toEqual([
      `etcd denied write access to ${session}; duplicate public addresses will not be ` +
      "detected, and a node that returns with another public address gets another subnet; " +
      "grant the etcd role " +
      `readwrite access to ${PREFIX}/sessions/`,
    ]);
  });

  test("that is invalid, or does not expire, keeps no node out", async () => {
    for (const broken of ["", "[]", '{"identity":5}', '{"identity":"x","hostname":"y"}']) {
      const etcd = new FakeEtcd();
      etcd.put(session, broken, broken.length < 20 ? etcd.grant(30).id : 0n);
      const pending = node(etcd).store.acquire(request(IPV4, A), forever);
      for (let i = 0; i < 10; i++) await settle();
      expect(await pending).toBeDefined();
    }
  });
});

describe("whether another node is alive", () => {
  const session = `${PREFIX}/sessions/192.0.2.9`;

  test("is given at once and at each change, for that address alone", async () => {
    const etcd = new FakeEtcd();
    const stop = new AbortController();
    const seen: boolean[] = [];
    const watching = (async () => {
      const answers = node(etcd).store.watchAlive("192.0.2.9" as IpAddress, stop.signal);
      for await (const isAlive of answers) seen.push(isAlive);
    })();
    const live = '{"identity":"x"}';
    for (
      const step of [
        () => etcd.put(`${session}9`, live, etcd.grant(30).id),
        () => etcd.put(session, live, etcd.grant(30).id),
        () => etcd.put(session, live, etcd.grant(30).id),
        () => etcd.delete(`${session}9`),
        () => etcd.delete(session),
        () => etcd.put(session, live), // One that never expires says nothing.
      ]
    ) {
      await settle();
      step();
    }
    await settle();
    stop.abort();
    await watching;
    expect(seen).toEqual([false, true, false]);
  });

  test("is not given where the etcd user may not read it, which is logged once", async () => {
    const etcd = new FakeEtcd();
    const { store, client, warnings } = node(etcd);
    for (let i = 0; i < 2; i++) {
      client.denyNext("range");
      const answers = store.watchAlive("192.0.2.9" as IpAddress, forever);
      expect(await Array.fromAsync(answers)).toEqual([]);
    }
    expect(warnings()).toEqual([
      expect.stringContaining(`etcd denied read access to ${PREFIX}/sessions/; a node`),
    ]);
  });
});

describe("watches", () => {
  test("of the configuration give each text that differs from the one read", async () => {
    const etcd = new FakeEtcd();
    const { store } = node(etcd);
    expect(await store.networkConfig(forever)).toBe(undefined);
    etcd.put(`${PREFIX}/config`, "1");
    expect(await store.networkConfig(forever)).toBe("1");
    etcd.put(`${PREFIX}/config`, "2"); // between reading and watching
    const seen: (string | undefined)[] = [];
    const stop = new AbortController();
    const watching = (async () => {
      for await (const text of store.watchNetworkConfig(stop.signal)) seen.push(text);
    })();
    await settle();
    etcd.put(`${PREFIX}/config2`, "x");
    etcd.put(`${PREFIX}/config`, "2");
    etcd.put(`${PREFIX}/config`, "3");
    await settle();
    etcd.delete(`${PREFIX}/config`);
    await settle();
    stop.abort();
    await watching;
    expect(seen).toEqual(["2", "3", undefined]);
  });

  test("of the leases give what can be read and name what cannot", async () => {
    const etcd = new FakeEtcd();
    const { store } = node(etcd);
    etcd.put(`${SUBNETS}10.5.2.0-24`, value("192.0.2.2"));
    etcd.put(`${SUBNETS}10.5.3.0-24`, "{");
    etcd.put(`${PREFIX}/sessions/192.0.2.2`, "{}");
    const seen: LeaseWatch[] = [];
    const stop = new AbortController();
    const watching = (async () => {
      for await (const event of store.watchLeases(stop.signal)) {
        const isSnapshot = event.kind === "snapshot";
        seen.push(isSnapshot ? { ...event, leases: event.leases.map(unpacked) } : event);
      }
    })();
    await settle();
    etcd.put(`${SUBNETS}10.5.3.0-24`, value("192.0.2.3"));
    etcd.put(`${SUBNETS}nonsense`, value("192.0.2.3"));
    etcd.delete(`${SUBNETS}10.5.2.0-24`);
    await settle();
    stop.abort();
    await watching;
    const lease = (third: number, revision: bigint, created = revision) => ({
      key: `10.5.${third}.0-24` as LeaseKey,
      subnets: { 4: `10.5.${third}.0/24` as Prefix },
      attributes: attributes({ 4: `192.0.2.${third}` }),
      created,
      changed: revision,
    });
    const invalid = (key: string, reason: string) => ({ key: key as LeaseKey, reason });
    expect(seen).toEqual([
      {
        kind: "snapshot",
        leases: [lease(2, 2n)],
        invalid: [invalid("10.5.3.0-24", "its value is not JSON")],
        revision: 4n,
      },
      { kind: "put", lease: lease(3, 5n, 3n) },
      { kind: "invalid", invalid: invalid("nonsense", "its key does not name a subnet") },
      { kind: "delete", key: "10.5.2.0-24" as LeaseKey },
    ]);
  });
});
