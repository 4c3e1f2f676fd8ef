import { expect, test } from "bun:test";
import fc from "fast-check";
import { lowerBound } from "../../../src/base/binary_search.ts";

test("lowerBound() returns the first index at which the condition holds", () => {
  const numbers = [1, 3, 3, 7];
  const firstAtLeast = (value: number) =>
    lowerBound(numbers.length, (index) => (numbers[index] as number) >= value);
  expect([0, 1, 2, 3, 4, 7, 8].map(firstAtLeast)).toEqual([0, 0, 1, 1, 3, 3, 4]);
});

test("lowerBound() returns the result of a linear search", () => {
  fc.assert(fc.property(fc.array(fc.integer()), fc.integer(), (unsorted, value) => {
    const numbers = unsorted.toSorted((a, b) => a - b);
    const linear = numbers.findIndex((number) => number >= value);
    expect(lowerBound(numbers.length, (index) => (numbers[index] as number) >= value))
      .toBe(linear < 0 ? numbers.length : linear);
  }));
});
