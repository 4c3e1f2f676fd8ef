import { expect, test } from "bun:test";
import { addressOf, fixedBuffer } from "../../../ffi/memory.ts";

test("the address of a fixed buffer never changes, even in a hot function", () => {
  const buffer = fixedBuffer(16);
  const before = addressOf(buffer);
  for (let i = 0; i < 2_000_000; i++) buffer[i & 15] = i;
  void buffer.buffer;
  expect(addressOf(buffer)).toBe(before);
});
