import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  addressBits,
  addressFromBytes,
  addressValue,
  type Family,
  formatAddress,
  type IpAddress,
} from "../../../src/addr/ip.ts";
import {
  hostPrefix,
  makePrefix,
  parsePrefix,
  parsePrefixMasked,
  type Prefix,
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

  test("contain themselves, and none of the other family", () => {
    for (const text of ["10.5.0.0/16", "10.5.1.7/32", "fc00::/48", "::/0", "0.0.0.0/0"]) {
      const one = text as Prefix;
      expect([prefixContains(one, one), prefixesOverlap(one, one)]).toEqual([true, true]);
      const others = text.includes(":") ? ["10.5.0.0/16", "0.0.0.0/32"] : ["fc00::/48", "::/128"];
      for (const other of others) {
        expect([prefixContains(one, other as Prefix), prefixesOverlap(one, other as Prefix)])
          .toEqual([false, false]);
      }
    }
  });

  test("of one address have the full length of its family", () => {
    expect(hostPrefix("10.5.1.7" as IpAddress)).toBe("10.5.1.7/32" as Prefix);
    expect(hostPrefix("fc00::7" as IpAddress)).toBe("fc00::7/128" as Prefix);
  });

  test("from bytes may have any length up to the whole, and no other", () => {
    const [ipv4, ipv6] = [new Uint8Array(4).fill(255), new Uint8Array(16)];
    expect([0, 7, 8, 31, 32].map((length) => String(prefixFromBytes(ipv4, length)))).toEqual([
      "0.0.0.0/0",
      "254.0.0.0/7",
      "255.0.0.0/8",
      "255.255.255.254/31",
      "255.255.255.255/32",
    ]);
    expect(String(prefixFromBytes(ipv6, 128))).toBe("::/128");
    for (const length of [-1, 1.5, NaN, 33]) {
      expect(() => prefixFromBytes(ipv4, length)).toThrow(
        new RangeError(`/${length} is not a prefix length of 4 bytes`),
      );
    }
  });

  test("parsePrefix() rejects host bits, parsePrefixMasked() clears them", () => {
    expect(parsePrefix("10.5.7.1/16")).toBe(undefined);
    expect(String(parsePrefixMasked("10.5.7.1/16"))).toBe("10.5.0.0/16");
    expect(String(parsePrefixMasked("FC00::1/64"))).toBe("fc00::/64");
    expect(splitPrefix("10.5.7.1/16") as unknown).toEqual({ address: "10.5.7.1", length: 16 });
  });

  test.each([
    "",
    "10.0.0.0",
    "10.0.0.08",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "::/129",
    "x/8",
    "/8",
  ])(
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
