import fc from "fast-check";
import { expect, test } from "bun:test";
import { containsKey, keyInterval } from "../../../src/datastore/mvcc/key_interval.ts";
import { KeyIntervalSet } from "../../../src/datastore/mvcc/key_interval_set.ts";

/**
 * Short keys of few different bytes, so that they collide, with the lowest and the highest byte.
 */
const key = fc.array(fc.constantFrom(0, 1, 0x61, 0xff), { maxLength: 3 })
  .map((bytes) => Uint8Array.from(bytes));

test("a key is in the set if it is in one of the intervals", () => {
  const ranges = fc.array(fc.tuple(key, key).map(([start, end]) => keyInterval(start, end)));
  fc.assert(
    fc.property(ranges, ranges, fc.array(key), (first, second, keys) => {
      const [set, other] = [new KeyIntervalSet(), new KeyIntervalSet()];
      for (const range of first) set.add(range);
      for (const range of second) other.add(range);
      set.addAll(other);
      const all = [...first, ...second];
      for (const one of keys) {
        expect(set.has(one)).toBe(all.some((range) => containsKey(range, one)));
      }
    }),
    { numRuns: 10_000 },
  );
});
