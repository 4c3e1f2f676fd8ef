import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Mark, SettledIndex } from "../../../src/reconcile/settled_index.ts";
import type { ResourceKey } from "../../../src/state/resource.ts";

/** Few hashes and rows, so that entries collide and are found again. */
const hashes = fc.constantFrom(0, 1, 63, 64, 127, 2 ** 31, 2 ** 32 - 1);
const rows = fc.integer({ min: 0, max: 40 });

test("an index has what was added and not removed, with its mark", () => {
  const operation = fc.record({
    kind: fc.constantFrom("add" as const, "add" as const, "remove" as const, "row" as const),
    hash: hashes,
    row: rows,
    mark: fc.constantFrom<Mark>(0, 1),
  });
  fc.assert(fc.property(fc.array(operation, { maxLength: 300 }), (operations) => {
    const index = new SettledIndex(0.5);
    const model = new Map<string, { hash: number; row: number; mark: Mark }>();
    for (const { kind, hash, row, mark } of operations) {
      const id = `${hash} ${row}`;
      if (kind === "add" && !model.has(id)) {
        index.add(hash, row, mark);
        model.set(id, { hash, row, mark });
      } else if (kind === "remove") {
        expect(index.remove(hash, row)).toBe(model.get(id)?.mark);
        model.delete(id);
      } else if (kind === "row" && row < 5) {
        index.removeRow(row);
        for (const [id, one] of model) if (one.row === row) model.delete(id);
      }
      expect(index.size).toBe(model.size);
      const there = [...model.values()].filter((one) => one.hash === hash).map(({ row }) => row);
      expect(index.rowsWith(hash).toSorted()).toEqual(there.sort());
      expect(index.has(hash, row)).toBe(model.has(id));
    }
  }));
});

test("an index stays small when entries come and go", () => {
  const index = new SettledIndex(0.5);
  for (let i = 0; i < 100_000; i++) {
    index.add(i, i % 100, 0);
    if (i >= 100) expect(index.remove(i - 100, (i - 100) % 100)).toBe(0);
  }
  expect(index.size).toBe(100);
  const startMs = performance.now();
  for (let i = 0; i < 100_000; i++) index.has(i, 0);
  expect(performance.now() - startMs).toBeLessThan(5000);
});

test("the hashes of ten thousand keys differ, and depend on the seed", () => {
  const keys = Array.from(
    { length: 10_000 },
    (_, i) => `route 10.${i >> 8}.${i & 255}.0/24 0 254` as ResourceKey,
  );
  const seeds = [0, 0.25, 0.999_999];
  const hashes = seeds.map((seed) => keys.map((key) => new SettledIndex(seed).hashOf(key)));
  for (const some of hashes) {
    expect(new Set(some).size).toBeGreaterThan(9_990);
    // Linear probing needs low bits that are spread evenly.
    expect(new Set(some.map((hash) => hash & 0xffff)).size).toBeGreaterThan(9_000);
  }
  expect(hashes[0]?.filter((hash, i) => hash === hashes[1]?.[i]).length).toBeLessThan(5);
});
