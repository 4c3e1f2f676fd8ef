import { expect, test } from "bun:test";
import { mapConcurrently } from "../../../src/base/map_concurrently.ts";

test("results have the order of the items, with a limited number of concurrent calls", async () => {
  let running = 0;
  let most = 0;
  const items = Array.from({ length: 100 }, (_, index) => index);
  const results = await mapConcurrently(items, async (item) => {
    most = Math.max(most, ++running);
    await Bun.sleep(item % 3);
    running--;
    return item * 2;
  });
  expect(results).toEqual(items.map((item) => item * 2));
  expect(most).toBe(32);
});

test("no call is started after a failure", async () => {
  const begun: number[] = [];
  const failing = mapConcurrently(Array.from({ length: 100 }, (_, index) => index), (item) => {
    begun.push(item);
    return item === 40 ? Promise.reject(new Error("refused")) : Promise.resolve(item);
  });
  await expect(failing).rejects.toThrow("refused");
  expect(begun.length).toBe(64);
});
