import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createPublicKey, diffieHellman, generateKeyPairSync } from "node:crypto";
import {
  isLowOrderKey,
  parseWireguardKey,
  type WireguardKey,
  wireguardKeyBytes,
  wireguardKeyFromBytes,
  ZERO_KEY,
} from "../../../src/addr/wireguard_key.ts";

describe("WireGuard keys", () => {
  test("are the same after conversion to bytes and text", () => {
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
        `A${ZERO_KEY}`,
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

  /** The list of https://cr.yp.to/ecdh.html; each point also with the highest bit set. */
  const LOW_ORDER = [
    "00".repeat(32),
    `01${"00".repeat(31)}`,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    `ec${"ff".repeat(30)}7f`,
    `ed${"ff".repeat(30)}7f`,
    `ee${"ff".repeat(30)}7f`,
  ];
  /** The same points plus the prime, for implementations that do not ignore the highest bit. */
  const ADDED = [
    "cdeb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
    "4c9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7",
    `d9${"ff".repeat(31)}`,
    `da${"ff".repeat(31)}`,
    `db${"ff".repeat(31)}`,
  ];

  test("of low order are those that X25519 rejects", () => {
    const keyFrom = (hex: string) => wireguardKeyFromBytes(Uint8Array.fromHex(hex));
    for (const hex of LOW_ORDER) {
      const highBitSet = hex.slice(0, 62) +
        (Number.parseInt(hex.slice(62), 16) | 0x80).toString(16);
      for (const key of [keyFrom(hex), keyFrom(highBitSet)]) {
        expect(isLowOrderKey(key)).toBe(true);
        expect(() => sharedSecret(key)).toThrow();
      }
    }
    for (const hex of ADDED) expect(isLowOrderKey(keyFrom(hex))).toBe(true);
    for (
      const hex of [`02${"00".repeat(31)}`, `eb${"ff".repeat(30)}7f`, `ef${"ff".repeat(30)}7f`]
    ) {
      expect(isLowOrderKey(keyFrom(hex))).toBe(false);
      expect(sharedSecret(keyFrom(hex))).toHaveLength(32);
    }
  });

  test("are never parsed from garbage", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 50 }), (text) => {
        const key = parseWireguardKey(text);
        if (key !== undefined) expect(wireguardKeyFromBytes(wireguardKeyBytes(key))).toBe(key);
      }),
      { numRuns: 100_000 },
    );
  });
});

/** The shared secret with a random key. Throws if it is zero. */
function sharedSecret(key: WireguardKey): Uint8Array {
  const { privateKey } = generateKeyPairSync("x25519");
  // The bytes before the key in the SPKI form of an X25519 public key (RFC 8410, section 4).
  const spki = Buffer.concat([
    Buffer.from("302a300506032b656e032100", "hex"),
    wireguardKeyBytes(key),
  ]);
  const publicKey = createPublicKey({ key: spki, format: "der", type: "spki" });
  return diffieHellman({ privateKey, publicKey });
}
