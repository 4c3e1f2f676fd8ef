import { expect, test } from "bun:test";
import { nearestWord } from "../../../src/base/nearest_word.ts";

test("a slip of the finger finds the word that was meant, another word finds none", () => {
  expect(nearestWord("etcd-endpoint", ["etcd-endpoints", "etcd-prefix"])).toBe("etcd-endpoints");
  expect(nearestWord("DIRECTROUTNG", ["VNI", "DirectRouting"])).toBe("DirectRouting");
  expect(nearestWord("verbose", ["iface", "version"])).toBe(undefined);
  expect(nearestWord("x", ["v"])).toBe(undefined);
});

test("of words that are equally near the first is meant, up to the given number of edits", () => {
  expect(nearestWord("a", ["ab", "ac"], 1)).toBe("ab");
  expect(nearestWord("verbose", ["iface", "version"], Infinity)).toBe("version");
  expect(nearestWord("", ["iface"], 4)).toBe(undefined);
  expect(nearestWord("", [], Infinity)).toBe(undefined);
});

test("a word that is far too long is compared with none", () => {
  expect(nearestWord("x".repeat(1_000_000), ["iface", "version"])).toBe(undefined);
  expect(nearestWord("x".repeat(1_000_000), ["iface", "version"], Infinity)).toBe(undefined);
});
