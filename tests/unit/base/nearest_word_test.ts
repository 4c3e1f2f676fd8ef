import { expect, test } from "bun:test";
import { nearestWord } from "../../../src/base/nearest_word.ts";

test("a misspelled word has a suggestion, a different word has none", () => {
  expect(nearestWord("etcd-endpoint", ["etcd-endpoints", "etcd-prefix"])).toBe("etcd-endpoints");
  expect(nearestWord("DIRECTROUTNG", ["VNI", "DirectRouting"])).toBe("DirectRouting");
  expect(nearestWord("verbose", ["iface", "version"])).toBe(undefined);
  expect(nearestWord("x", ["v"])).toBe(undefined);
});

test("the first of the nearest words is suggested, up to the given number of edits", () => {
  expect(nearestWord("a", ["ab", "ac"], 1)).toBe("ab");
  expect(nearestWord("verbose", ["iface", "version"], Infinity)).toBe("version");
  expect(nearestWord("", ["iface"], 4)).toBe(undefined);
  expect(nearestWord("", [], Infinity)).toBe(undefined);
});

test("a word that is far too long has no suggestion", () => {
  expect(nearestWord("x".repeat(1_000_000), ["iface", "version"])).toBe(undefined);
  expect(nearestWord("x".repeat(1_000_000), ["iface", "version"], Infinity)).toBe(undefined);
});
