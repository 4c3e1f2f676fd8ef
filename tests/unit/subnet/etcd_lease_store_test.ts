/** Which subnet a node takes, and what happens to its previous leases. */

import { Code } from "@connectrpc/connect";
import { beforeEach, describe, expect, spyOn, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { PerFamily } from "../../../src/addr/family.ts";
import { EtcdLeaseStore } from "../../../src/subnet/etcd/etcd_lease_store.ts";
import type { LeaseRequest, OwnLease } from "../../../src/subnet/lease_store.ts";
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
} from "../../etcd/lease_store_fixture.ts";
import { collectingLog } from "../../support/collecting_log.ts";
import { settle } from "../../support/fake_clock.ts";
import { etcdError, FakeEtcd, type FakeEtcdClient } from "../../support/fake_etcd.ts";

const PREFIX = "/net";
const SUBNETS = `${PREFIX}/subnets/`;
const A = { 4: "192.0.2.1" };
const BOTH = { 4: "192.0.2.1", 6: "2001:db8::1" };
const MAC = "02:00:00:00:00:01";
const forever = new AbortController().signal;

let etcd: FakeEtcd;
let client: FakeEtcdClient;
let node: TestNode;

beforeEach(() => {
  etcd = new FakeEtcd();
  etcd.clock.random = () => 0; // It chooses the first subnet that is free.
  client = etcd.client();
  node = testNode({ etcd: client, prefix: PREFIX, clock: etcd.clock });
});

/** A lease in etcd; `seconds` of 0: a reservation. */
function stored(key: string, text = value("192.0.2.1"), seconds = 86_400): void {
  etcd.put(SUBNETS + key, text, seconds === 0 ? 0n : etcd.grant(seconds).id);
}

async function within<T>(promise: Promise<T>, seconds = 60): Promise<T> {
  let done = false;
  const end = () => done = true;
  promise.then(end, end);
  for (let i = 0; i < 10 && !done; i++) await settle();
  for (let i = 0; i < seconds && !done; i++) await etcd.clock.advance(1000);
  return await Promise.race([promise, Promise.reject(new Error(`not within ${seconds} s`))]);
}

const acquire = (wish: LeaseRequest): Promise<OwnLease> =>
  within(node.store.acquire(wish, forever));
const previous = (publicAddresses: PerFamily<string> = A, config = IPV4) =>
  within(node.store.previousLease({
    config,
    publicAddresses: publicAddresses as PerFamily<IpAddress>,
  }, forever));
const keys = () =>
  Object.keys(etcd.contents).filter((key) => key.startsWith(SUBNETS))
    .map((key) => key.slice(SUBNETS.length)).sort();
const messages = () => node.records.map(({ level, msg }) => `${level} ${msg}`);
/** The subnet that a node ends up with, as its key. */
const taken = async (wish: LeaseRequest) => String((await acquire(wish)).lease.key);

describe("a store", () => {
  test("says where it is, and closes its etcd when it is closed", async () => {
    let isClosed = false;
    client[Symbol.asyncDispose] = () => {
      isClosed = true;
      return Promise.resolve();
    };
    expect(node.store.description).toBe("etcd at memory");
    await node[Symbol.asyncDispose]();
    expect(isClosed).toBe(true);
  });

  test("keeps a session of half a minute, in real time, unless it is asked otherwise", async () => {
    const { log } = collectingLog();
    await using store = new EtcdLeaseStore({
      clock: systemClock,
      etcd: client,
      prefix: PREFIX,
      renewMarginMs: 60_000,
      log,
      node: () => ({ identity: "x", hostname: "x", interface: "eth0", interfaces: [] }),
    });
    await using own = await store.acquire(request(IPV4, A), forever);
    expect(own.lease.subnets[4]).toStartWith("10.5.");
    const session = etcd.get(`${PREFIX}/sessions/192.0.2.1`);
    expect(etcd.timeToLive(session?.lease as bigint).grantedSeconds).toBe(30);
  });

  test("refuses a node without an address of the family that nodes are known by", async () => {
    for (const [config, family] of [[IPV4, 4], [DUAL, 4], [IPV6_ONLY, 6]] as const) {
      const addresses = family === 4 ? { 6: "2001:db8::1" } : A;
      const error = await failure(acquire(request(config, addresses)));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe(`this node has no public IPv${family} address`);
    }
  });
});

describe("the lease that a node had", () => {
  test("is its reservation, or its oldest lease that can be read", async () => {
    expect(await previous()).toBe(undefined);
    stored("10.5.3.0-24", "{");
    stored("10.5.4.0-24", value("192.0.2.10"));
    expect(await previous()).toBe(undefined);
    stored("10.5.9.0-24");
    stored("10.5.5.0-24");
    expect(String((await previous())?.key)).toBe("10.5.9.0-24");
    stored("10.5.7.0-24", value("192.0.2.1"), 0);
    stored("10.5.6.0-24");
    expect(String((await previous())?.key)).toBe("10.5.7.0-24");
  });

  test("is found by the IPv6 address in an IPv6-only network, however it is written", async () => {
    stored("0.0.0.0-0&fc00:0:0:7::-64", '{"PublicIP":"192.0.2.1","PublicIPv6":"2001:DB8:0::2"}');
    stored("0.0.0.0-0&fc00:0:0:8::-64", '{"PublicIPv6":"2001:DB8:0::1"}');
    const found = await previous(BOTH, IPV6_ONLY);
    expect(String(found?.key)).toBe("0.0.0.0-0&fc00:0:0:8::-64");
  });

  test("is looked for through an outage, which is logged", async () => {
    client.failNext("range", "before");
    await previous();
    expect(messages()[0])
      .toBe("warn looking for this node's lease in etcd failed: the connection was cut");
  });

  test("is good for five seconds, for one attempt", async () => {
    for (const [pauseMs, ranges] of [[5000, 0], [5001, 1]] as const) {
      await previous();
      await etcd.clock.advance(pauseMs);
      const before = etcd.calls.get("range") as number;
      await (await acquire(request(IPV4, A)))[Symbol.asyncDispose]();
      expect(etcd.calls.get("range")).toBe(before + ranges);
    }
    await previous();
    const before = etcd.calls.get("range") as number;
    for (let i = 0; i < 2; i++) await (await acquire(request(IPV4, A)))[Symbol.asyncDispose]();
    expect(etcd.calls.get("range")).toBe(before + 1);
  });
});

describe("a node that had a lease", () => {
  test("keeps it, and says so", async () => {
    stored("10.5.7.0-24&fc00:0:0:7::-64");
    const { lease } = etcd.get(`${SUBNETS}10.5.7.0-24&fc00:0:0:7::-64`) as { lease: bigint };
    expect(await taken(request(DUAL, BOTH))).toBe("10.5.7.0-24&fc00:0:0:7::-64");
    expect(etcd.get(`${SUBNETS}10.5.7.0-24&fc00:0:0:7::-64`)?.lease).toBe(lease);
    expect(etcd.calls.get("range")).toBe(2); // For the session and for the leases.
    expect(messages()).toEqual([
      "info reusing this node's lease of 10.5.7.0/24 and fc00:0:0:7::/64",
    ]);
    expect(node.records[0]?.lease).toBe("10.5.7.0-24&fc00:0:0:7::-64");
  });

  test("keeps a reservation, and says so", async () => {
    stored("10.5.7.0-24", value("192.0.2.1"), 0);
    const own = await acquire(request(IPV4, A));
    expect(messages()).toEqual(["info taking this node's reservation of 10.5.7.0/24"]);
    expect(etcd.get(`${SUBNETS}10.5.7.0-24`)?.version).toBe(1n);
    expect(etcd.calls.get("keepLeaseAlive")).toBe(undefined);
    expect(own.lease.changed).toBe(etcd.get(`${SUBNETS}10.5.7.0-24`)?.modRevision as bigint);
  });

  test("is renewed from when the lease was kept", async () => {
    stored("10.5.7.0-24");
    await etcd.clock.advance(50_000_000);
    await acquire(request(IPV4, A));
    await etcd.clock.advance(86_400_000 - 3_600_000 - 1000);
    expect(messages().filter((text) => text.includes("renewed"))).toEqual([]);
    await etcd.clock.advance(1000);
    expect(messages().at(-1)).toBe("info renewed the lease for 86400 s");
  }, 30_000);

  test("takes a subnet again if the lease expires just then", async () => {
    stored("10.5.7.0-24", value("192.0.2.1"), 3);
    await previous();
    await etcd.clock.advance(4000);
    expect(await taken(request(IPV4, A))).toBe("10.5.1.0-24");
    expect(keys()).toEqual(["10.5.1.0-24"]);
  });

  test("reads again if the lease changes just then", async () => {
    stored("10.5.7.0-24", value("192.0.2.1", "02:00:00:00:00:99"));
    await previous();
    stored("10.5.7.0-24", value("192.0.2.1", "02:00:00:00:00:98"));
    expect(await taken(request(IPV4, A))).toBe("10.5.7.0-24");
    expect(etcd.get(`${SUBNETS}10.5.7.0-24`)?.value).toBe(value("192.0.2.1"));
  });

  test("gets a day if the lease had less, and leaves no etcd lease without keys", async () => {
    stored("10.5.7.0-24", value("192.0.2.1"), 86_399);
    await acquire(request(IPV4, A));
    const { lease } = etcd.get(`${SUBNETS}10.5.7.0-24`) as { lease: bigint };
    expect(etcd.timeToLive(lease).grantedSeconds).toBe(86_400);
    expect(etcd.leases).toHaveLength(3); // This, the previous one, the session's.
  });

  test("deletes its other leases, and says so", async () => {
    stored("10.5.7.0-24");
    stored("10.5.8.0-24");
    stored("10.5.9.0-24", value("192.0.2.1"), 0);
    stored("10.5.10.0-24", value("192.0.2.1"), 0);
    expect(await taken(request(IPV4, A))).toBe("10.5.9.0-24");
    expect(keys()).toEqual(["10.5.10.0-24", "10.5.9.0-24"]);
    expect(messages()).toEqual([
      "info taking this node's reservation of 10.5.9.0/24",
      "info deleting this node's lease of 10.5.7.0/24: this node has 10.5.9.0/24 now",
      "info deleting this node's lease of 10.5.8.0/24: this node has 10.5.9.0/24 now",
    ]);
    expect(node.records.slice(1).map(({ lease }) => lease)).toEqual(["10.5.7.0-24", "10.5.8.0-24"]);
  });

  test("prefers its device's identity, then the file's subnet, then the oldest", async () => {
    const identity = deviceIdentity(MAC);
    const other = value("192.0.2.1", "02:00:00:00:00:99");
    for (
      const [marked, inFile, expected] of [
        ["10.5.9.0-24", "10.5.8.0/24", "10.5.9.0-24"],
        ["", "10.5.8.0/24", "10.5.8.0-24"],
        ["", "10.5.200.0/24", "10.5.7.0-24"],
      ] as const
    ) {
      for (const key of keys()) etcd.delete(SUBNETS + key);
      for (const key of ["10.5.7.0-24", "10.5.8.0-24", "10.5.9.0-24"]) {
        stored(key, key === marked ? value("192.0.2.1") : other);
      }
      expect(await taken(request(IPV4, A, { identity, previous: { 4: inFile } }))).toBe(expected);
    }
  });

  test("prefers its address to its identity with another address", async () => {
    const identity = deviceIdentity(MAC);
    stored("10.5.7.0-24", value("192.0.2.2"));
    stored("10.5.8.0-24", value("192.0.2.1"));
    expect(await taken(request(IPV4, A, { identity }))).toBe("10.5.8.0-24");
    expect(keys()).toEqual(["10.5.8.0-24"]);
  });

  test("gives up one that does not fit, and what it held is free", async () => {
    stored("10.5.1.0-25");
    expect(await taken(request(IPV4, A))).toBe("10.5.1.0-24");
    expect(messages()).toEqual([
      "info deleting this node's lease of 10.5.1.0/25: it does not fit the network configuration",
      "info took the subnet 10.5.1.0/24",
    ]);
    expect(node.records.map(({ lease }) => lease)).toEqual(["10.5.1.0-25", "10.5.1.0-24"]);
  });

  test("leaves a reservation that does not fit, and takes nothing of it", async () => {
    stored("10.5.1.0-25", value("192.0.2.1"), 0);
    expect(await taken(request(IPV4, A))).toBe("10.5.2.0-24");
    expect(keys()).toEqual(["10.5.1.0-25", "10.5.2.0-24"]);
    expect(messages()[0]).toBe(
      "warn cannot use the reservation of 10.5.1.0/25: it does not fit the network " +
        "configuration; delete the reservation",
    );
    expect(node.records[0]?.lease).toBe("10.5.1.0-25");
  });

  test("keeps one that overlaps an older one which no node heeds, or a younger one", async () => {
    stored("10.5.0.0-20", value("192.0.2.9")); // Not a /24.
    stored("10.5.7.0-24&fc00:0:0:7::-64");
    stored("10.5.7.0-24&fc00:0:0:9::-64", value("192.0.2.9"));
    expect(await taken(request(DUAL, BOTH))).toBe("10.5.7.0-24&fc00:0:0:7::-64");
  });

  test("gives up one that overlaps an older one of another node", async () => {
    stored("10.5.7.0-24&fc00:0:0:9::-64", value("192.0.2.9"));
    stored("10.5.7.0-24&fc00:0:0:7::-64");
    expect(await taken(request(DUAL, BOTH))).toBe("10.5.1.0-24&fc00:0:0:1::-64");
    expect(keys()).toEqual(["10.5.1.0-24&fc00:0:0:1::-64", "10.5.7.0-24&fc00:0:0:9::-64"]);
  });

  test("may keep one that overlaps an older one of its own, which goes", async () => {
    stored("10.5.7.0-24&fc00:0:0:7::-64");
    stored("10.5.8.0-24&fc00:0:0:7::-64");
    const wish = request(DUAL, BOTH, { previous: { 4: "10.5.8.0/24" } });
    expect(await taken(wish)).toBe("10.5.8.0-24&fc00:0:0:7::-64");
    expect(keys()).toEqual(["10.5.8.0-24&fc00:0:0:7::-64"]);
  });

  test("keeps another one of its own if the first is another node's just then", async () => {
    stored("10.5.7.0-24", value("192.0.2.1", "02:00:00:00:00:99"));
    stored("10.5.8.0-24");
    await previous();
    stored("10.5.7.0-24", value("192.0.2.9"));
    expect(await taken(request(IPV4, A))).toBe("10.5.8.0-24");
    expect(keys()).toEqual(["10.5.7.0-24", "10.5.8.0-24"]);
  });

  test("gives up one that holds an address which the host needs", async () => {
    stored("10.5.7.0-24&fc00:0:0:7::-64");
    const excluded = [{ address: "fc00:0:0:7::53" as IpAddress, what: "a name server" }];
    expect(await taken({ ...request(DUAL, BOTH), excluded })).toBe("10.5.1.0-24&fc00:0:0:1::-64");
    expect(keys()).toEqual(["10.5.1.0-24&fc00:0:0:1::-64"]);
  });
});

describe("a node that may not see the sessions of others", () => {
  const DENIED = "etcdserver: permission denied";
  const deny = (error: Error) => {
    const { range } = client;
    client.range = (request, signal) =>
      request.key === `${PREFIX}/sessions/192.0.2.2`
        ? Promise.reject(error)
        : range.call(client, request, signal);
    return () => client.range = range;
  };

  test("is not answered whether one is alive, and that is logged once", async () => {
    deny(etcdError(DENIED, Code.PermissionDenied));
    for (let i = 0; i < 2; i++) {
      const answers = node.store.watchAlive("192.0.2.2" as IpAddress, forever);
      expect(await within(Array.fromAsync(answers))).toEqual([]);
    }
    expect(messages()).toEqual([
      "warn etcd denied read access to /net/sessions/; a node that returns with another public " +
      "address gets another subnet, and of two nodes with the same MAC address or key the first " +
      "keeps it, alive or not; grant the etcd role read access there",
    ]);
    expect(node.records[0]).toMatchObject({ err: { message: DENIED } });
  });

  test("leaves the leases alone that it may have had under another address", async () => {
    deny(etcdError(DENIED, Code.PermissionDenied));
    stored("10.5.7.0-24", value("192.0.2.2"));
    const identity = deviceIdentity(MAC);
    expect(await taken(request(IPV4, A, { identity }))).toBe("10.5.1.0-24");
    expect(keys()).toEqual(["10.5.1.0-24", "10.5.7.0-24"]);
    expect(messages()[0]).toStartWith("warn etcd denied read access to /net/sessions/;");
  });

  test("leaves them alone as well if it may not write a session of its own", async () => {
    client.denyNext("transaction");
    stored("10.5.7.0-24", value("192.0.2.2"));
    const before = etcd.get(`${SUBNETS}10.5.7.0-24`);
    const identity = deviceIdentity(MAC);
    expect(await taken(request(IPV4, A, { identity }))).toBe("10.5.1.0-24");
    expect(etcd.get(`${SUBNETS}10.5.7.0-24`)).toEqual(before as never);
  });

  test("waits if it only cannot see them now", async () => {
    const allow = deny(etcdError("away", Code.Unavailable));
    stored("10.5.7.0-24", value("192.0.2.2"));
    const pending = taken(request(IPV4, A, { identity: deviceIdentity(MAC) }));
    await etcd.clock.advance(10_000);
    allow();
    expect(await pending).toBe("10.5.7.0-24");
    expect(messages()[0]).toBe("warn acquiring a subnet in etcd failed: away");
    expect(messages()).toContain(
      "info reusing this node's lease of 10.5.7.0/24, held before with the public " +
        "address 192.0.2.2",
    );
  });
});

describe("a node that had none", () => {
  test("takes the first free subnets of the file, each family on its own", async () => {
    stored("10.5.200.0-24&fc00:0:0:1::-64", value("192.0.2.9"));
    for (
      const [previous, expected] of [
        [{ 4: "10.5.200.0/24", 6: "fc00:0:0:200::/64" }, "10.5.1.0-24&fc00:0:0:200::-64"],
        [{ 4: "10.5.201.0/24", 6: "fc00:0:0:1::/64" }, "10.5.201.0-24&fc00:0:0:2::-64"],
        [{ 4: "10.5.201.0/25" }, "10.5.1.0-24&fc00:0:0:2::-64"],
      ] as const
    ) {
      const own = await acquire(request(DUAL, BOTH, { previous }));
      expect(String(own.lease.key)).toBe(expected);
      const steps = messages().filter((text) => !text.startsWith("warn the subnet changed "));
      expect(steps.at(-1)).toStartWith("info took the subnet 10.5.");
      await own[Symbol.asyncDispose]();
      etcd.delete(SUBNETS + expected);
    }
  });

  test("chooses by chance among what is free", async () => {
    etcd.clock.random = () => 0.999;
    expect(await taken(request(IPV4, A))).toBe("10.5.100.0-24");
  });

  test("says which ranges are full, and what to do", async () => {
    const config = parse({
      Network: "10.5.0.0/28",
      SubnetLen: 30,
      EnableIPv6: true,
      IPv6Network: "fc00::/62",
    });
    for (const last of [4, 8, 12]) stored(`10.5.0.${last}-30`, value("192.0.2.9"));
    expect((await failure(acquire(request(config, BOTH)))).message).toBe(
      "out of subnets: 3 leases leave none free from 10.5.0.4 to 10.5.0.12 (/30) or fc00:0:0:1:: " +
        "to fc00:0:0:3:: (/64); enlarge the network or delete the leases of nodes that " +
        "no longer exist",
    );
  });

  test("chooses again after a lost race, with pauses of up to half a second", async () => {
    etcd.clock.random = () => 0.5;
    const lost: number[] = [];
    const { transaction } = client;
    client.transaction = (request, signal) => {
      const isCreation = request.success.some((one) =>
        "put" in one && one.put.key.startsWith(SUBNETS)
      );
      if (!isCreation || lost.length === 30) return transaction.call(client, request, signal);
      lost.push(etcd.clock.nowMs());
      return Promise.resolve({ succeeded: false, revision: 1n, ranges: [] });
    };
    const grants = spyOn(client, "grantLease");
    await acquire(request(IPV4, A));
    expect(grants).toHaveBeenCalledTimes(2); // One for the session, and one for all attempts.
    const pauses = lost.slice(1).map((ms, i) => ms - (lost[i] as number));
    expect(pauses.slice(0, 3)).toEqual([10, 20, 30]);
    expect(pauses.slice(-6)).toEqual([240, 250, 250, 250, 250, 250]);
    expect(messages()[0]).toBe("info another node took 10.5.51.0/24 first; choosing again");
    expect(node.records[0]?.lease).toBe("10.5.51.0-24");
    expect(etcd.leases).toHaveLength(2); // This one, and the session's.
  });

  test("gives up a new one that overlaps one created just before, and chooses again", async () => {
    etcd.clock.random = () => 0.5;
    const { transaction } = client;
    const theirs = "10.5.51.0-24&fc00:0:0:99::-64";
    client.transaction = (request, signal) => {
      const isCreation = request.success.some((one) =>
        "put" in one && one.put.key.startsWith(SUBNETS)
      );
      if (isCreation && !keys().includes(theirs)) stored(theirs, value("192.0.2.9"));
      return transaction.call(client, request, signal);
    };
    const { lease } = await acquire(request(DUAL, BOTH));
    expect(String(lease.subnets[4])).toBe("10.5.52.0/24");
    expect(keys()).toEqual([theirs, String(lease.key)]);
  });

  test("is not renewed before its time", async () => {
    await using _own = await acquire(request(IPV4, A));
    await etcd.clock.advance(3_600_000);
    expect(messages()).toEqual([expect.stringMatching(/^info took the subnet/)]);
  });

  test("ends between two races when it is stopped", async () => {
    etcd.clock.random = () => 0.5;
    const { transaction } = client;
    const stop = new AbortController();
    client.transaction = (request, signal) => {
      if (request.success.some((one) => "put" in one && one.put.key.includes("sessions"))) {
        return transaction.call(client, request, signal);
      }
      stop.abort(new Error("stopping"));
      return Promise.resolve({ succeeded: false, revision: 1n, ranges: [] });
    };
    const error = await failure(within(node.store.acquire(request(IPV4, A), stop.signal)));
    expect(error.message).toBe("stopping");
    expect(messages()).toHaveLength(1);
  });

  test("says what fails while it cannot acquire one", async () => {
    client.failNext("grantLease", "before");
    await acquire(request(IPV4, A));
    expect(messages()[0]).toBe("warn acquiring a subnet in etcd failed: the connection was cut");
  });

  test("does not take a fault of the program for a lack of permission", async () => {
    const { transaction } = client;
    client.transaction = () => {
      client.transaction = transaction;
      return Promise.reject(new TypeError("permission denied"));
    };
    expect((await failure(acquire(request(IPV4, A)))).message).toBe("permission denied");
  });
});

describe("the session of a node whose address changes", () => {
  const session = (last: number) => `${PREFIX}/sessions/192.0.2.${last}`;
  const OTHER = '{"identity":"other","hostname":"host-b","interface":"eth0"}';

  test("is the new address's, and the former one's is no concern of it any more", async () => {
    const own = await acquire(request(IPV4, A));
    await within(own.update(attributes(A, "02:00:00:00:00:42"), forever));
    expect(etcd.created.filter((key) => key.includes("sessions"))).toEqual([session(1)]);
    await within(own.update(attributes({ 4: "192.0.2.2" }), forever));
    expect(etcd.get(session(1))).toBe(undefined);
    etcd.put(session(1), OTHER, etcd.grant(3600).id);
    await etcd.clock.advance(60_000);
    expect(await Promise.race([own.lost.then(() => "lost"), settle()])).toBe(undefined);
    etcd.put(session(2), OTHER, etcd.grant(3600).id);
    expect(await within(own.lost))
      .toBe("node host-b took over this node's public address 192.0.2.2");
  });

  test("is not asked for again when the etcd user may not write it", async () => {
    client.denyNext("transaction");
    const own = await acquire(request(IPV4, A));
    await within(own.update(attributes({ 4: "192.0.2.2" }), forever));
    expect(etcd.created.filter((key) => key.includes("sessions"))).toEqual([]);
    expect(messages().filter((text) => text.startsWith("warn"))).toHaveLength(1);
    expect(node.records.find(({ level }) => level === "warn")).toMatchObject({
      err: { message: "etcdserver: permission denied" },
    });
  });
});

describe("watches", () => {
  test("of a session say what fails before they begin", async () => {
    client.failNext("range", "before");
    const { range } = client;
    const asked: unknown[] = [];
    client.range = (request, signal) => {
      asked.push(request);
      return range.call(client, request, signal);
    };
    const answers = node.store.watchAlive("192.0.2.9" as IpAddress, forever);
    expect(await within(answers.next())).toEqual({ done: false, value: false });
    expect(messages()[0])
      .toBe(`warn reading ${PREFIX}/sessions/192.0.2.9 in etcd failed: the connection was cut`);
    expect(asked).toEqual(Array(2).fill({ key: `${PREFIX}/sessions/192.0.2.9` }));
    await answers.return(undefined);
  });

  test("of the leases end below when they are left", async () => {
    let isLeft = false;
    const { watch } = client;
    client.watch = async function* (key, signal) {
      try {
        yield* watch.call(client, key, signal);
      } finally {
        isLeft = true;
      }
    };
    for await (const event of node.store.watchLeases(forever)) {
      expect(event.kind).toBe("snapshot");
      break;
    }
    expect(isLeft).toBe(true);
  });

  test("of the leases end when they are stopped", async () => {
    const stop = new AbortController();
    const events = Array.fromAsync(node.store.watchLeases(stop.signal));
    await settle();
    stop.abort();
    expect(await events).toEqual([{ kind: "snapshot", leases: [], invalid: [], revision: 1n }]);
  });
});
