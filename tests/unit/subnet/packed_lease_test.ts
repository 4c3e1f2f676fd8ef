import { expect, test } from "bun:test";
import fc from "fast-check";
import type { IpAddress } from "../../../src/addr/ip.ts";
import type { Prefix } from "../../../src/addr/prefix.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { packLease } from "../../../src/subnet/packed_lease.ts";
import { lease } from "../../support/sample_network.ts";
import { unpacked } from "../../support/unpacked.ts";

/** A value for each family, one, or none. */
function perFamily<T>(value: fc.Arbitrary<T>): fc.Arbitrary<{ 4?: T; 6?: T }> {
  return fc.record({ 4: value, 6: value }, { requiredKeys: [] });
}

const leases: fc.Arbitrary<Lease> = fc.record({
  key: fc.string().map((text) => text as LeaseKey),
  subnets: perFamily(fc.constantFrom("10.5.2.0/24", "fc00::/64").map((text) => text as Prefix)),
  attributes: fc.record({
    publicAddresses: perFamily(
      fc.constantFrom("192.0.2.1", "::1").map((text) => text as IpAddress),
    ),
    backendType: fc.oneof(fc.constant("vxlan"), fc.string({ unit: "binary" })),
    backendData: perFamily(fc.json().map((text): unknown => JSON.parse(text))),
  }),
  created: fc.bigInt({ min: 0n, max: 2n ** 70n }),
  changed: fc.bigInt({ min: 0n, max: 2n ** 70n }),
});

test("a packed lease says what the lease said, in any order of reading", () => {
  fc.assert(fc.property(fc.array(leases, { minLength: 1, maxLength: 4 }), (originals) => {
    const packed = originals.map(packLease);
    for (const [i, one] of [...packed.entries(), ...packed.entries()]) {
      const original = originals[i] as Lease;
      expect(one.subnets).toEqual(original.subnets);
      expect(unpacked(one)).toEqual(original);
      expect(JSON.stringify(one.attributes)).toBe(JSON.stringify(original.attributes));
      expect(packLease(one)).toBe(one);
    }
  }));
});

test("a lease is decoded once while it is read, and again after another one", () => {
  const [a, b] = [packLease(lease(2, "vxlan", [4])), packLease(lease(3, "vxlan", [4]))];
  const first = a.attributes;
  expect(a.attributes).toBe(first);
  expect(a.subnets).toBe(a.subnets);
  expect<unknown>(b.attributes.publicAddresses).toEqual({ 4: "192.168.0.3" });
  expect(a.attributes).not.toBe(first);
  expect(a.attributes).toEqual(first);
});

test("a lease with a number that JSON cannot write is kept as it is", () => {
  const infinite = JSON.parse('{"Port": 1e999}') as unknown;
  const sample = lease(2, "vxlan", [4]);
  const odd = { ...sample, attributes: { ...sample.attributes, backendData: { 4: infinite } } };
  expect(packLease(odd)).toBe(odd);
  expect(packLease(sample)).not.toBe(sample);
});

test("revisions are exact up to and beyond 2⁵³", () => {
  for (const revision of [0n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n]) {
    const one = packLease({ ...lease(2, "vxlan", [4]), created: revision, changed: revision });
    expect([one.created, one.changed]).toEqual([revision, revision]);
  }
});
