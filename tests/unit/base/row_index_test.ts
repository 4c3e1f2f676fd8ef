import { expect, test } from "bun:test";
import fc from "fast-check";
import { RowIndex } from "../../../src/base/row_index.ts";

/** Few hashes and rows, so that entries collide; at both ends of the table, so that they wrap. */
const hashes = fc.constantFrom(0, 1, 2 ** 28, 2 ** 31, 2 ** 32 - 2 ** 28, 2 ** 32 - 2, 2 ** 32 - 1);
const rows = fc.integer({ min: 0, max: 40 });

test("an index has what was added and not removed", () => {
  const operation = fc.record({
    kind: fc.constantFrom("add" as const, "add" as const, "remove" as const, "row" as const),
    hash: hashes,
    row: rows,
  });
  fc.assert(fc.property(fc.array(operation, { maxLength: 400 }), (operations) => {
    const index = new RowIndex(0.5);
    const model = new Map<string, { hash: number; row: number }>();
    for (const { kind, hash, row } of operations) {
      const id = `${hash} ${row}`;
      if (kind === "add" && !model.has(id)) {
        index.add(hash, row);
        model.set(id, { hash, row });
      } else if (kind === "remove") {
        expect(index.remove(hash, row)).toBe(model.delete(id));
      } else if (kind === "row" && row < 5) {
        index.removeRow(row);
        for (const [id, one] of model) if (one.row === row) model.delete(id);
      }
      expect(index.size).toBe(model.size);
    }
    for (const hash of new Set(operations.map(({ hash }) => hash))) {
      const there = [...model.values()].filter((one) => one.hash === hash).map(({ row }) => row);
      expect([...index.rowsWith(hash)].sort()).toEqual(there.sort());
      for (let row = 0; row <= 40; row++) {
        expect(index.has(hash, row)).toBe(model.has(`${hash} ${row}`));
        const isThere = there.includes(row) ? row : undefined;
        expect(index.find(hash, (other) => other === row)).toBe(isThere);
      }
    }
  }));
});

test("an index stays fast when ten thousand entries leave, and others come and go", () => {
  const index = new RowIndex(0.5);
  const hashOf = (i: number) => index.hashOf(`10.${i >> 8}.${i & 255}.0-24`);
  const count = 10_000;
  for (let i = 0; i < count; i++) index.add(hashOf(i), i);
  for (let i = 100; i < count; i++) expect(index.remove(hashOf(i), i)).toBe(true);
  for (let i = 0; i < 100_000; i++) {
    index.add(hashOf(i + count), i % 100);
    if (i >= 100) expect(index.remove(hashOf(i + count - 100), (i - 100) % 100)).toBe(true);
  }
  expect(index.size).toBe(200);
  for (let i = 0; i < 100; i++) expect(index.rowsWith(hashOf(i))).toContain(i);
  const startMs = performance.now();
  for (let i = 0; i < 100_000; i++) index.has(hashOf(i), 0);
  expect(performance.now() - startMs).toBeLessThan(5000);
});

test("texts whose hashes collide with one seed do not with another one", () => {
  const keys = Array.from({ length: 60_000 }, (_, i) => `10.${i >> 8}.${i & 255}.0-24 ${i * i}`);
  const colliding = (seed: number) => {
    const index = new RowIndex(seed);
    const known = new Map<number, string>();
    const pairs: [string, string][] = [];
    for (const key of keys) {
      const hash = index.hashOf(key) >>> 12;
      const other = known.get(hash);
      if (other !== undefined) pairs.push([key, other]);
      known.set(hash, key);
    }
    return pairs;
  };
  const pairs = colliding(0.25);
  expect(pairs.length).toBeGreaterThan(1000);
  const other = new RowIndex(0.75);
  const again = pairs.filter(([a, b]) => other.hashOf(a) >>> 12 === other.hashOf(b) >>> 12);
  expect(again.length).toBeLessThan(pairs.length / 100);
});
