import { expect, test } from "bun:test";
import { entriesOf, familiesOf, mapFamilies, valuesOf } from "../../../src/addr/family.ts";

test("a value for each family is listed IPv4 first, whatever the order of its keys", () => {
  const values = { 6: "six", 4: "four" };
  expect(familiesOf(values)).toEqual([4, 6]);
  expect(entriesOf(values)).toEqual([[4, "four"], [6, "six"]]);
  expect(valuesOf(values)).toEqual(["four", "six"]);
});

test("a family without a value is left out", () => {
  expect(familiesOf({ 6: 0 })).toEqual([6]);
  expect(entriesOf({ 6: 0 })).toEqual([[6, 0]]);
  expect(entriesOf({})).toEqual([]);
  expect(mapFamilies({ 4: 1, 6: 2 }, (value) => value === 1 ? undefined : value + 1))
    .toStrictEqual({ 6: 3 });
});
