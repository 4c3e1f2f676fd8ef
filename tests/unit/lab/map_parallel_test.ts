import { expect, test } from "bun:test";
import { mapParallel } from "../../../src/lab/map_parallel.ts";

test("at most the limit runs at once, and results are in the order of the items", async () => {
  let [running, most] = [0, 0];
  const results = await mapParallel([5, 1, 4, 2, 3], 2, async (item) => {
    most = Math.max(most, ++running);
    for (let turn = 0; turn < item; turn++) await Promise.resolve();
    running--;
    return item * 10;
  });
  expect(results).toEqual([50, 10, 40, 20, 30]);
  expect(most).toBe(2);
});

test("an error of the work is thrown, and no items is no work", async () => {
  await expect(mapParallel([1], 2, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await mapParallel([], 2, () => Promise.resolve(1))).toEqual([]);
});
