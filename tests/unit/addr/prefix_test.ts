import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  addressBits,
  addressFromBytes,
  addressValue,
  type Family,
  formatAddress,
} from "../../../src/addr/ip.ts";
import {
  makePrefix,
  parsePrefix,
  parsePrefixMasked,
  prefixAddress,
  prefixContains,
  prefixContainsAddress,
  prefixesOverlap,
  prefixFromBytes,
  prefixLength,
  prefixRange,
  splitPrefix,
} from "../../../src/addr/prefix.ts";

/** Small numbers of bits, so that prefixes often contain each other. */
const prefix = fc.constantFrom<Family>(4, 6).chain((family) => {
  const bits = addressBits(family);
  return fc.tuple(
    fc.bigInt({ min: 0n, max: 15n }),
    fc.oneof(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: bits })),
  ).map(([top, length]) => makePrefix(formatAddress(family, top << BigInt(bits - 4)), length));
});

describe("prefixes", () => {
  test("are the same after conversion to text", () => {
    fc.assert(fc.property(prefix, (value) => {
      expect(parsePrefix(value)).toBe(value);
      expect(makePrefix(prefixAddress(value), prefixLength(value))).toBe(value);
    }));
  });

  test("are the same from bytes as from an address", () => {
    const bytes = fc.oneof(
      ...[4, 16].map((length) => fc.uint8Array({ minLength: length, maxLength: length })),
    );
    fc.assert(fc.property(bytes, fc.integer({ min: 0, max: 128 }), (bytes, length) => {
      const before = [...bytes];
      const make = () => makePrefix(addressFromBytes(bytes), length);
      if (length > bytes.length * 8) {
        expect(() => prefixFromBytes(bytes, length)).toThrow(RangeError);
      } else {
        expect(prefixFromBytes(bytes, length)).toBe(make());
      }
      expect([...bytes]).toEqual(before);
    }));
  });

  test("contain and overlap as their address ranges do", () => {
    fc.assert(
      fc.property(prefix, prefix, (a, b) => {
        const sameFamily = a.includes(":") === b.includes(":");
        const [x, y] = [prefixRange(a), prefixRange(b)];
        const contains = sameFamily && x.first <= y.first && y.last <= x.last;
        const overlaps = sameFamily && x.first <= y.last && y.first <= x.last;
        expect(prefixContains(a, b)).toBe(contains);
        expect(prefixesOverlap(a, b)).toBe(overlaps);
        expect(prefixContainsAddress(a, prefixAddress(b))).toBe(
          sameFamily && x.first <= addressValue(prefixAddress(b)) &&
            addressValue(prefixAddress(b)) <= x.last,
        );
      }),
      { numRuns: 500 },
    );
  });

  test("parsePrefix() rejects host bits, parsePrefixMasked() clears them", () => {
    expect(parsePrefix("10.5.7.1/16")).toBe(undefined);
    expect(String(parsePrefixMasked("10.5.7.1/16"))).toBe("10.5.0.0/16");
    expect(String(parsePrefixMasked("FC00::1/64"))).toBe("fc00::/64");
    expect(splitPrefix("10.5.7.1/16") as unknown).toEqual({ address: "10.5.7.1", length: 16 });
  });

  test.each(["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "::/129", "x/8", "/8"])(
    "%p is not a prefix",
    (text) => {
      expect(parsePrefix(text)).toBe(undefined);
      expect(parsePrefixMasked(text)).toBe(undefined);
    },
  );

  test("a length outside the family's range throws", () => {
    expect(() => makePrefix(formatAddress(4, 0n), 33)).toThrow(RangeError);
    expect(() => makePrefix(formatAddress(6, 0n), -1)).toThrow(RangeError);
  });
});
