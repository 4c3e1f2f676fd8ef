import { beforeEach, describe, expect, test } from "bun:test";
import { DepartingPeers, DEPARTURE_MS } from "../../../src/overlay/departing_peers.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { ip, lease, prefix } from "../../support/sample_network.ts";

let departing: DepartingPeers;

let clock: FakeClock;
/** The keys of each call of `onDue`, and when it came. */
let due: [number, ...string[]][];

beforeEach(() => {
  clock = new FakeClock();
  const startMs = clock.nowMs();
  due = [];
  departing = new DepartingPeers({
    clock,
    onDue(keys) {
      due.push([clock.nowMs() - startMs, ...keys]);
      for (const key of keys) departing.delete(key);
    },
  });
});

/** The lease of another node n with the subnet of m, under a key of its own. */
function like(n: number, m: number, name = `lease-${n}-${m}`): Lease {
  const { attributes } = lease(n, "vxlan", [4, 6]);
  return { ...lease(m, "vxlan", [4, 6]), attributes, key: name as LeaseKey };
}

const KEY = (n: number): string => lease(n, "vxlan", [4]).key;

function replacedBy(one: Lease): string[] {
  return departing.replacedBy(one).sort();
}

describe("DepartingPeers", () => {
  test("has a lease until it is deleted", () => {
    const two = lease(2, "vxlan", [4, 6]);
    departing.add(two);
    expect([departing.has(two.key), departing.has(KEY(3) as LeaseKey)]).toEqual([true, false]);
    expect(departing.delete(two.key)).toBe(two);
    expect(departing.delete(two.key)).toBeUndefined();
    expect([...departing.keys]).toEqual([]);
  });

  test("reports each lease when its grace period is over, those of one time together", async () => {
    for (const n of [2, 3]) departing.add(lease(n, "vxlan", [4]));
    await clock.advance(300);
    departing.add(lease(4, "vxlan", [4]));
    await clock.advance(DEPARTURE_MS - 301);
    expect(due).toEqual([]);
    await clock.advance(DEPARTURE_MS);
    expect(due).toEqual([[DEPARTURE_MS, KEY(2), KEY(3)], [DEPARTURE_MS + 300, KEY(4)]]);
  });

  test("starts the grace period again when the lease is deleted again", async () => {
    for (const n of [2, 3]) departing.add(lease(n, "vxlan", [4]));
    await clock.advance(400);
    departing.add(lease(2, "vxlan", [4]));
    await clock.advance(2 * DEPARTURE_MS);
    expect(due).toEqual([[DEPARTURE_MS, KEY(3)], [DEPARTURE_MS + 400, KEY(2)]]);
  });

  test("reports no lease that was deleted, and none after it was disposed", async () => {
    for (const n of [2, 3]) departing.add(lease(n, "vxlan", [4]));
    departing.delete(KEY(2) as LeaseKey);
    await clock.advance(DEPARTURE_MS);
    expect(due).toEqual([[DEPARTURE_MS, KEY(3)]]);
    departing.add(lease(4, "vxlan", [4]));
    departing[Symbol.dispose]();
    departing.add(lease(5, "vxlan", [4]));
    await clock.advance(2 * DEPARTURE_MS);
    expect(due).toHaveLength(1);
    expect([...departing.keys] as string[]).toEqual([KEY(4), KEY(5)]);
  });

  test("finds the leases that one with some of their addresses replaces", () => {
    for (const n of [2, 3]) departing.add(lease(n, "vxlan", [4, 6]));
    expect(replacedBy(like(9, 2))).toEqual([KEY(2)]);
    expect(replacedBy(like(9, 7))).toEqual([]);
    const wide = { ...like(9, 7), subnets: { 4: prefix("10.5.0.0/16") } };
    expect(replacedBy(wide)).toEqual([KEY(2), KEY(3)]);
    const ipv6 = { ...like(9, 7), subnets: { 6: prefix("fc00:0:0:3::/64") } };
    expect(replacedBy(ipv6)).toEqual([KEY(3)]);
  });

  test("finds the leases that another one of the same node replaces, but not itself", () => {
    departing.add(lease(2, "vxlan", [4, 6]));
    departing.add(like(2, 5));
    expect(replacedBy(like(2, 7))).toEqual(["lease-2-5", KEY(2)].sort());
    expect(replacedBy(lease(2, "vxlan", [4, 6]))).toEqual(["lease-2-5"]);
    const ipv6 = { ...like(9, 7), attributes: lease(2, "vxlan", [6]).attributes };
    expect(replacedBy(ipv6)).toEqual(["lease-2-5", KEY(2)].sort());
    const unknown = like(9, 7);
    const attributes = { ...unknown.attributes, publicAddresses: {} };
    expect(replacedBy({ ...unknown, attributes })).toEqual([]);
  });

  test("does not find a lease that was deleted, neither by its subnet nor by its address", () => {
    departing.add(lease(2, "vxlan", [4, 6]));
    departing.add(like(2, 5));
    departing.add(lease(4, "vxlan", [4, 6]));
    departing.delete(KEY(2) as LeaseKey);
    expect(replacedBy(like(9, 2))).toEqual([]);
    expect(replacedBy(like(2, 7))).toEqual(["lease-2-5"]);
    departing.delete("lease-2-5" as LeaseKey);
    expect(replacedBy(like(2, 5))).toEqual([]);
    expect(replacedBy(like(4, 7))).toEqual([KEY(4)]);
  });

  test("reports none that was added only after it was disposed", async () => {
    departing[Symbol.dispose]();
    departing.add(lease(2, "vxlan", [4]));
    await clock.advance(2 * DEPARTURE_MS);
    expect(due).toEqual([]);
  });

  test("finds no peer when none is departing", () => {
    expect(replacedBy(like(2, 2))).toEqual([]);
    departing.add({ ...like(2, 2), attributes: noAddress() });
    expect(departing.delete("lease-2-2" as LeaseKey)).toBeDefined();
  });
});

function noAddress(): Lease["attributes"] {
  return { ...like(2, 2).attributes, publicAddresses: { 4: ip("192.168.0.9") } };
}
