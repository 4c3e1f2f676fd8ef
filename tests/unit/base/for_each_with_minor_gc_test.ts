import { expect, test } from "bun:test";
import { fullGC, heapStats } from "bun:jsc";
import { forEachWithMinorGc } from "../../../src/base/for_each_with_minor_gc.ts";

test("forEachWithMinorGc() visits each item once, in order", () => {
  const items = Array.from({ length: 2500 }, (_, index) => index);
  const visited: number[] = [];
  forEachWithMinorGc(new Set(items), (item) => visited.push(item));
  expect(visited).toEqual(items);
});

test("forEachWithMinorGc() collects garbage after each thousand", () => {
  // The number of objects is counted by a collection, and stays the same until the next.
  fullGC();
  const kept: object[] = [];
  const counts = new Map<number, number>();
  forEachWithMinorGc(new Array(2001).keys(), (index) => {
    for (let i = 0; i < 10; i++) kept.push({ index });
    if (index % 1000 === 999 || index % 1000 === 0) counts.set(index, heapStats().objectCount);
  });
  expect(kept).toHaveLength(20_010);
  const added = (index: number) => (counts.get(index) ?? NaN) - (counts.get(index - 1) ?? NaN);
  expect(added(1000)).toBeGreaterThan(9_000);
  expect(added(2000)).toBeGreaterThan(9_000);
});
