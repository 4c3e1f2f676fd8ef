import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  parseWireguardKey,
  wireguardKeyBytes,
  wireguardKeyFromBytes,
} from "../../../src/addr/wireguard_key.ts";

describe("WireGuard keys", () => {
  test("survive the way through bytes and text", () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
      const key = wireguardKeyFromBytes(bytes);
      expect(parseWireguardKey(key)).toBe(key);
      expect(wireguardKeyBytes(key)).toEqual(bytes);
    }));
  });

  test("are 32 bytes in canonical base64 and nothing else", () => {
    for (
      const text of [
        "",
        "A".repeat(43),
        "A".repeat(44),
        `${"A".repeat(42)}B=`, // the last bits are not part of the key
        `${"A".repeat(41)}==`,
        `${"A".repeat(43)}=\n`,
        `${"A".repeat(42)}_=`,
      ]
    ) {
      expect(parseWireguardKey(text)).toBeUndefined();
    }
    expect(() => wireguardKeyFromBytes(new Uint8Array(31))).toThrow("has 32 bytes, not 31");
  });

  test("of garbage are never made up", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 50 }), (text) => {
        const key = parseWireguardKey(text);
        if (key !== undefined) expect(wireguardKeyFromBytes(wireguardKeyBytes(key))).toBe(key);
      }),
      { numRuns: 100_000 },
    );
  });
});
