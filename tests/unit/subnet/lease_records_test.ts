/** The layout in etcd; each change succeeds only if there was no other change before. */

import { beforeEach, describe, expect, test } from "bun:test";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { PerFamily } from "../../../src/addr/family.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import {
  claimedSubnets,
  LeaseRecords,
  leasesOverlap,
} from "../../../src/subnet/etcd/lease_records.ts";
import type { LeaseKey } from "../../../src/subnet/lease.ts";
import type { Log } from "../../../src/log/log.ts";
import { collectingLog, type LogRecord } from "../../support/collecting_log.ts";
import { FakeEtcd } from "../../support/fake_etcd.ts";
import { DUAL, IPV4, value } from "../../etcd/lease_store_fixture.ts";

const forever = new AbortController().signal;
const SUBNETS = "/net/subnets/";
const KEY = "10.5.7.0-24" as LeaseKey;
const subnets = (ipv4?: string, ipv6?: string): PerFamily<Prefix> => ({
  ...(ipv4 && { 4: ipv4 as Prefix }),
  ...(ipv6 && { 6: ipv6 as Prefix }),
});

let etcd: FakeEtcd;
let records: LeaseRecords;
let log: Log;
let logged: LogRecord[];

beforeEach(() => {
  etcd = new FakeEtcd();
  ({ log, records: logged } = collectingLog());
  records = new LeaseRecords(etcd.client(), "/net/", log);
});

describe("the layout", () => {
  test("is that of Go flannel, whether or not the prefix ends in a slash", () => {
    for (const prefix of ["/net", "/net/"]) {
      const { configKey, leasePrefix, ...rest } = new LeaseRecords(etcd.client(), prefix, log);
      expect({ configKey, leasePrefix, ...rest })
        .toEqual({ configKey: "/net/config", leasePrefix: SUBNETS });
      expect(records.leaseKey(KEY)).toBe("/net/subnets/10.5.7.0-24");
      expect(records.sessionKey("192.0.2.1" as IpAddress)).toBe("/net/sessions/192.0.2.1");
    }
  });

  test("gives every lease with what etcd knows of it, and nothing else", async () => {
    const { id } = etcd.grant(60);
    etcd.put("/net/config", "{}");
    etcd.put("/net/sessions/192.0.2.1", "{}");
    etcd.put(SUBNETS + KEY, "x");
    etcd.put(SUBNETS + KEY, value("192.0.2.1"), id);
    etcd.put(`${SUBNETS}nonsense`, "{");
    const [lease, nonsense, ...rest] = await records.all(forever);
    expect(rest).toEqual([]);
    expect(lease).toMatchObject({
      value: value("192.0.2.1"),
      etcdLease: id,
      createRevision: 4n,
      modRevision: 5n,
      subnets: { 4: "10.5.7.0/24" },
      lease: { key: KEY, subnets: { 4: "10.5.7.0/24" }, created: 4n, changed: 5n },
    });
    expect(lease?.lease).toBe(lease?.lease as never); // Decoded once.
    expect(nonsense?.subnets).toEqual({});
    expect(nonsense?.lease).toMatchObject({ key: "nonsense", reason: expect.any(String) });
  });
});

describe("a change", () => {
  const write = (text: string, etcdLease = 0n) => ({ key: KEY, value: text, etcdLease });

  test("makes a lease where there is none, attached to an etcd lease or to none", async () => {
    const { id } = etcd.grant(60);
    expect(await records.create(write("a", id), IPV4.families, forever))
      .toEqual({ kind: "created", revision: 2n });
    expect(etcd.get(SUBNETS + KEY)).toMatchObject({ value: "a", lease: id, createRevision: 2n });
    expect(await records.create(write("b"), IPV4.families, forever)).toEqual({ kind: "exists" });
    expect(etcd.get(SUBNETS + KEY)?.value).toBe("a");
  });

  test("names no etcd lease for a reservation", async () => {
    const client = etcd.client();
    const requests: unknown[] = [];
    const transaction = client.transaction.bind(client);
    client.transaction = (request, signal) => {
      requests.push(...request.success);
      return transaction(request, signal);
    };
    await new LeaseRecords(client, "/net", log).replace(write("a"), 0n, forever);
    expect(requests).toStrictEqual([{ put: { key: SUBNETS + KEY, value: "a" } }]);
  });

  test("says which older lease has some of the addresses of one that was made", async () => {
    const made = (key: string) =>
      records.create({ ...write("a"), key: key as LeaseKey }, DUAL.families, forever);
    etcd.put(`${SUBNETS}0.0.0.0-0`, "x"); // No node's: it would shut all out.
    etcd.put(`${SUBNETS}nonsense`, "x");
    etcd.put(`${SUBNETS}10.5.8.0-24&fc00:0:0:8::-64`, "x");
    expect((await made("10.5.7.0-24&fc00:0:0:7::-64")).kind).toBe("created");
    expect(await made("10.5.9.0-24&fc00:0:0:7::-64"))
      .toEqual({
        kind: "overlaps",
        key: "10.5.7.0-24&fc00:0:0:7::-64" as LeaseKey,
        revision: etcd.get(`${SUBNETS}10.5.9.0-24&fc00:0:0:7::-64`)?.modRevision as bigint,
      });
    expect(await made("10.5.8.0-24&fc00:0:0:a::-64"))
      .toMatchObject({ kind: "overlaps", key: "10.5.8.0-24&fc00:0:0:8::-64" as LeaseKey });
    expect((await made("nonsense too")).kind).toBe("created");
  });

  test("asks for no values to find out, of which there may be megabytes", async () => {
    const client = etcd.client();
    const transaction = client.transaction.bind(client);
    const values: string[] = [];
    client.transaction = async (request, signal) => {
      const result = await transaction(request, signal);
      values.push(...result.ranges.flat().map((keyValue) => keyValue.value));
      return result;
    };
    await new LeaseRecords(client, "/net", log).create(write("a"), IPV4.families, forever);
    expect(values).toEqual([""]);
  });

  test("replaces and deletes a lease only as it was read, and while the guards hold", async () => {
    etcd.put(SUBNETS + KEY, "a");
    const guard = { key: "/net/guard", createRevision: 0n };
    expect(await records.replace(write("b"), 1n, forever)).toBe(undefined);
    expect(await records.replace(write("b"), 2n, forever, [guard])).toBe(3n);
    etcd.put("/net/guard", "x");
    expect(await records.replace(write("c"), 3n, forever, [guard])).toBe(undefined);
    await records.delete(KEY, 2n, forever);
    await records.delete(KEY, 3n, forever, [guard]);
    expect(etcd.get(SUBNETS + KEY)?.value).toBe("b");
    expect(await records.replace(write("c"), 3n, forever)).toBe(5n);
    await records.delete(KEY, 5n, forever);
    expect(etcd.get(SUBNETS + KEY)).toBe(undefined);
  });

  test("is traced with its revision, and not traced when it does not happen", async () => {
    const traced = () =>
      logged.map(({ level, msg, event, lease, revision }) => ({
        level,
        msg,
        event,
        lease,
        revision,
      }));
    await records.create(write("a"), IPV4.families, forever);
    await records.create(write("b"), IPV4.families, forever);
    await records.replace(write("b"), 2n, forever);
    await records.replace(write("c"), 2n, forever);
    await records.delete(KEY, 2n, forever);
    await records.delete(KEY, 3n, forever);
    const line = { level: "trace" as const, msg: "lease written to etcd", lease: KEY };
    expect(traced()).toEqual([
      { ...line, event: "put", revision: 2 },
      { ...line, event: "put", revision: 3 },
      { ...line, event: "delete", revision: 4 },
    ]);
    const quiet = collectingLog("debug");
    quiet.log.trace = () => expect().fail("computed a line that is not logged");
    await new LeaseRecords(etcd.client(), "/net", quiet.log)
      .create(write("a"), IPV4.families, forever);
  });
});

describe("claimedSubnets()", () => {
  test.each([
    ["both families of the network", subnets("10.5.1.0/24", "fc00:0:0:1::/64"), DUAL],
    ["a subnet as large as half the network", subnets("10.5.0.0/17"), DUAL],
  ])("are %s", (_, given, config) => {
    expect(claimedSubnets({ subnets: given }, config.families)).toEqual(given);
  });

  test.each([
    ["of a family that the network does not have", subnets(undefined, "fc00:0:0:1::/64"), IPV4],
    ["that is the whole network", subnets("10.5.0.0/16"), DUAL],
    ["that contains the whole network", subnets("0.0.0.0/0", "fc00::/16"), DUAL],
  ])("are none %s", (_, given, config) => {
    expect(claimedSubnets({ subnets: given }, config.families)).toEqual({});
  });
});

describe("leasesOverlap()", () => {
  test.each([
    [subnets("10.5.1.0/24"), subnets("10.5.1.0/24"), true],
    [subnets("10.5.1.0/24"), subnets("10.5.0.0/16"), true],
    [subnets("10.5.1.0/24"), subnets("10.5.2.0/24"), false],
    [subnets("10.5.1.0/24", "fc00:0:0:1::/64"), subnets("10.5.2.0/24", "fc00:0:0:1::/64"), true],
    [subnets("10.5.1.0/24", "fc00:0:0:1::/64"), subnets("10.5.1.0/24", "fc00:0:0:2::/64"), true],
    [subnets("10.5.1.0/24"), subnets(undefined, "fc00:0:0:1::/64"), false],
    [subnets("10.5.1.0/24", "fc00:0:0:1::/64"), subnets("10.5.2.0/24"), false],
    [subnets(), subnets("10.5.2.0/24"), false],
  ])("of %p and %p: %p", (a, b, expected) => {
    expect(leasesOverlap(a, b)).toBe(expected);
    expect(leasesOverlap(b, a)).toBe(expected);
  });
});
