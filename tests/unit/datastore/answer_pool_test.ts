import { expect, test } from "bun:test";
import { AnswerPool, type Share } from "../../../src/datastore/answer_pool.ts";

const SIZES = { smallBytes: 1_000, largeBytes: 4 << 20 };
const MIB = 1 << 20;

test("a call that finds no room waits in turn, and small answers do not wait for large ones", async () => {
  const pool = new AnswerPool(SIZES);
  const first = await pool.take(3 * MIB);
  const order: string[] = [];
  const wait = async (name: string, bytes: number): Promise<Share> => {
    const share = await pool.take(bytes);
    order.push(name);
    return share;
  };
  const second = wait("second", 2 * MIB);
  const third = wait("third", MIB);
  expect(pool.tryTake(MIB)).toBeUndefined(); // it would overtake the others
  (await wait("small", 900))[Symbol.dispose]();
  expect(order).toEqual(["small"]);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  await Promise.all([second, third]);
  expect(order).toEqual(["small", "second", "third"]);
  expect(pool.tryTake(MIB)).toBeDefined();
  expect(pool.tryTake(MIB)).toBeUndefined();
});

test("what is larger than the pool is served when there is nothing else", async () => {
  const pool = new AnswerPool(SIZES);
  using small = await pool.take(MIB);
  let isServed = false;
  const huge = pool.take(9 * MIB).then((share) => {
    isServed = true;
    return share;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(isServed).toBe(false);
  small[Symbol.dispose]();
  (await huge)[Symbol.dispose]();
  expect(pool.tryTake(4 * MIB)).toBeDefined();
});
