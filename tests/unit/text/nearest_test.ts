import { expect, test } from "bun:test";
import { nearest } from "../../../src/text/nearest.ts";

test("a slip of the finger finds the word that was meant, another word finds none", () => {
  expect(nearest("etcd-endpoint", ["etcd-endpoints", "etcd-prefix"])).toBe("etcd-endpoints");
  expect(nearest("DIRECTROUTNG", ["VNI", "DirectRouting"])).toBe("DirectRouting");
  expect(nearest("verbose", ["iface", "version"])).toBe(undefined);
  expect(nearest("x", ["v"])).toBe(undefined);
});

test("of words that are equally near the first is meant, up to the given number of edits", () => {
  expect(nearest("a", ["ab", "ac"], 1)).toBe("ab");
  expect(nearest("verbose", ["iface", "version"], Infinity)).toBe("version");
  expect(nearest("", ["iface"], 4)).toBe(undefined);
  expect(nearest("", [], Infinity)).toBe(undefined);
});

test("a word that is far too long is compared with none", () => {
  expect(nearest("x".repeat(1_000_000), ["iface", "version"])).toBe(undefined);
  expect(nearest("x".repeat(1_000_000), ["iface", "version"], Infinity)).toBe(undefined);
});
