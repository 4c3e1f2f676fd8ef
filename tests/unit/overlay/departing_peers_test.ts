import { beforeEach, describe, expect, test } from "bun:test";
import { DepartingPeers, DEPARTURE_MS } from "../../../src/overlay/departing_peers.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { ip, lease, prefix } from "../../support/sample_network.ts";

let departing: DepartingPeers;

beforeEach(() => departing = new DepartingPeers());

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
  test("holds a lease until it is taken out, once", () => {
    const two = lease(2, "vxlan", [4, 6]);
    departing.add(two, 1000);
    expect([departing.size, departing.has(two.key), departing.has(KEY(3) as LeaseKey)]).toEqual([
      1,
      true,
      false,
    ]);
    expect(departing.delete(two.key)).toBe(two);
    expect(departing.delete(two.key)).toBeUndefined();
    expect(departing.size).toBe(0);
  });

  test("knows who is due, in the order in which they leave", () => {
    expect(departing.nextMs).toBe(Infinity);
    for (const n of [2, 3, 4]) departing.add(lease(n, "vxlan", [4]), 100 * n);
    expect(departing.nextMs).toBe(200 + DEPARTURE_MS);
    expect(departing.due(199 + DEPARTURE_MS) as string[]).toEqual([]);
    expect(departing.due(300 + DEPARTURE_MS) as string[]).toEqual([KEY(2), KEY(3)]);
    expect(departing.size).toBe(3);
  });

  test("begins the time again when a lease is deleted again", () => {
    for (const n of [2, 3]) departing.add(lease(n, "vxlan", [4]), 100);
    departing.add(lease(2, "vxlan", [4]), 500);
    expect(departing.due(100 + DEPARTURE_MS) as string[]).toEqual([KEY(3)]);
    expect(departing.due(500 + DEPARTURE_MS) as string[]).toEqual([KEY(3), KEY(2)]);
  });

  test("says in whose place a lease comes that has some of the addresses", () => {
    for (const n of [2, 3]) departing.add(lease(n, "vxlan", [4, 6]), 0);
    expect(replacedBy(like(9, 2))).toEqual([KEY(2)]);
    expect(replacedBy(like(9, 7))).toEqual([]);
    const wide = { ...like(9, 7), subnets: { 4: prefix("10.5.0.0/16") } };
    expect(replacedBy(wide)).toEqual([KEY(2), KEY(3)]);
    const ipv6 = { ...like(9, 7), subnets: { 6: prefix("fc00:0:0:3::/64") } };
    expect(replacedBy(ipv6)).toEqual([KEY(3)]);
  });

  test("says in whose place a lease of the same node comes, but not in its own", () => {
    departing.add(lease(2, "vxlan", [4, 6]), 0);
    departing.add(like(2, 5), 0);
    expect(replacedBy(like(2, 7))).toEqual(["lease-2-5", KEY(2)].sort());
    expect(replacedBy(lease(2, "vxlan", [4, 6]))).toEqual(["lease-2-5"]);
    const ipv6 = { ...like(9, 7), attributes: lease(2, "vxlan", [6]).attributes };
    expect(replacedBy(ipv6)).toEqual(["lease-2-5", KEY(2)].sort());
    const unknown = like(9, 7);
    const attributes = { ...unknown.attributes, publicAddresses: {} };
    expect(replacedBy({ ...unknown, attributes })).toEqual([]);
  });

  test("does not find what was taken out, neither by its subnet nor by its address", () => {
    departing.add(lease(2, "vxlan", [4, 6]), 0);
    departing.add(like(2, 5), 0);
    departing.add(lease(4, "vxlan", [4, 6]), 0);
    departing.delete(KEY(2) as LeaseKey);
    expect(replacedBy(like(9, 2))).toEqual([]);
    expect(replacedBy(like(2, 7))).toEqual(["lease-2-5"]);
    departing.delete("lease-2-5" as LeaseKey);
    expect(replacedBy(like(2, 5))).toEqual([]);
    expect(replacedBy(like(4, 7))).toEqual([KEY(4)]);
  });

  test("finds no peer when none is departing", () => {
    expect(replacedBy(like(2, 2))).toEqual([]);
    expect(departing.due(Infinity) as string[]).toEqual([]);
    departing.add({ ...like(2, 2), attributes: noAddress() }, 0);
    expect(departing.delete("lease-2-2" as LeaseKey)).toBeDefined();
  });
});

function noAddress(): Lease["attributes"] {
  return { ...like(2, 2).attributes, publicAddresses: { 4: ip("192.168.0.9") } };
}
