import { expect, test } from "bun:test";
import fc from "fast-check";
import { RowIndex } from "../../../src/base/row_index.ts";
import { LeaseRows } from "../../../src/subnet/lease_rows.ts";
import type { Lease, LeaseKey } from "../../../src/subnet/lease.ts";
import { lease } from "../../support/sample_network.ts";
import { unpacked } from "../../support/unpacked.ts";

/** Also with keys that need escapes, and with data that cannot be packed. */
const leases: fc.Arbitrary<Lease> = fc.record({
  key: fc.constantFrom("10.5.2.0-24", "node/a b", 'node/"\n', "node/é", "node/null"),
  n: fc.integer({ min: 2, max: 200 }),
  data: fc.constantFrom<unknown>({ VNI: 1 }, null, { Port: Infinity }, "\ud800"),
  created: fc.bigInt({ min: 0n, max: 2n ** 64n }),
}).map(({ key, n, data, created }) => {
  const one = lease(n, "vxlan", n % 2 === 0 ? [4] : [4, 6]);
  const attributes = { ...one.attributes, backendData: { 4: data } };
  return { ...one, key: key as LeaseKey, attributes, created, changed: created + 1n };
});

test("each key has the lease that was written last", () => {
  const operation = fc.record({ kind: fc.constantFrom("put", "put", "move", "delete"), leases });
  fc.assert(fc.property(fc.array(operation, { maxLength: 100 }), (operations) => {
    const rows = new LeaseRows(0.5);
    const model = new Map<LeaseKey, Lease>();
    for (const { kind, leases: one } of operations) {
      const row = rows.find(one.key);
      expect(row !== undefined).toBe(model.has(one.key));
      if (kind === "delete") {
        if (row !== undefined) rows.delete(row);
        model.delete(one.key);
        continue;
      }
      if (row !== undefined && kind === "put") rows.replace(row, one);
      else rows.add(one);
      // Two rows with one key, until the first one goes.
      if (row !== undefined && kind === "move") rows.delete(row);
      model.set(one.key, one);
    }
    expect(rows.size).toBe(model.size);
    const found = rows.rows().map((row) => [rows.keyAt(row), unpacked(rows.at(row))] as const);
    expect(new Map(found)).toEqual(model);
    for (const row of rows.rows()) expect(rows.find(rows.keyAt(row))).toBe(row);
  }));
});

test("keys with one hash are distinguished", () => {
  const rows = new LeaseRows(0.5);
  const [a, b] = collidingKeys();
  rows.add({ ...lease(2, "vxlan", [4]), key: a });
  expect(rows.find(b)).toBeUndefined();
  const second = rows.add({ ...lease(3, "vxlan", [4]), key: b });
  expect(rows.at(rows.find(a) as number).subnets).toEqual(lease(2, "vxlan", [4]).subnets);
  expect(rows.find(b)).toBe(second);
  rows.delete(rows.find(a) as number);
  expect(rows.find(b)).toBe(second);
});

/** Found by trying: with this seed, some two of 100 000 keys have one hash. */
function collidingKeys(): [LeaseKey, LeaseKey] {
  const index = new RowIndex(0.5);
  const known = new Map<number, LeaseKey>();
  for (let i = 0;; i++) {
    const key = `node/${i}` as LeaseKey;
    const hash = index.hashOf(key);
    const other = known.get(hash);
    if (other !== undefined) return [other, key];
    known.set(hash, key);
  }
}
