import { expect, test } from "bun:test";
import { MemoryPool, type MemoryReservation } from "../../../src/datastore/mvcc/memory_pool.ts";

const SIZES = { smallBytes: 1_000, largeBytes: 4 << 20 };
const MIB = 1 << 20;

test("a call without room waits its turn; small responses do not wait for large ones", async () => {
  const pool = new MemoryPool(SIZES);
  const first = await pool.take(3 * MIB, "a");
  const order: string[] = [];
  const wait = async (name: string, bytes: number): Promise<MemoryReservation> => {
    const share = await pool.take(bytes, name);
    order.push(name);
    return share;
  };
  const second = wait("second", 2 * MIB);
  const third = wait("third", MIB);
  expect(pool.tryTake(MIB, "a")).toBeUndefined(); // it would overtake the others
  (await wait("small", 900))[Symbol.dispose]();
  expect(order).toEqual(["small"]);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  await Promise.all([second, third]);
  expect(order).toEqual(["small", "second", "third"]);
  expect(pool.tryTake(MIB, "a")).toBeDefined();
  expect(pool.tryTake(MIB, "b")).toBeUndefined();
});

test("a response that is larger than the pool is served alone", async () => {
  const pool = new MemoryPool(SIZES);
  using small = await pool.take(MIB, "a");
  let isServed = false;
  const huge = pool.take(9 * MIB, "a").then((share) => {
    isServed = true;
    return share;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(isServed).toBe(false);
  small[Symbol.dispose]();
  (await huge)[Symbol.dispose]();
  expect(pool.tryTake(4 * MIB, "a")).toBeDefined();
});

test("a client that reads nothing has at most half of the pool; others take turns", async () => {
  const pool = new MemoryPool(SIZES);
  const order: string[] = [];
  const wait = async (owner: string, bytes: number): Promise<MemoryReservation> => {
    const share = await pool.take(bytes, owner);
    order.push(owner);
    return share;
  };
  const greedy = Array.from({ length: 100 }, () => wait("greedy", 100));
  await Promise.all(greedy.slice(0, 5));
  const [first, second] = [await wait("b", 400), await wait("c", 100)];
  expect(pool.tryTake(100, "d")).toBeUndefined();
  const waiting = ["c", "c", "d"].map((owner) => wait(owner, 100));
  first[Symbol.dispose]();
  await Promise.all(waiting);
  expect(order.slice(5)).toEqual(["b", "c", "c", "d", "c"]);
  second[Symbol.dispose]();
  (await greedy[0])?.[Symbol.dispose]();
  await greedy[5];
  expect(order.filter((owner) => owner === "greedy").length).toBe(6);
});
