import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  addressBits,
  addressBytes,
  addressFromBytes,
  addressValue,
  type Family,
  familyOf,
  formatAddress,
  type IpAddress,
  isLinkLocal,
  nonUnicastKind,
  parseIpAddress,
  urlHost,
} from "../../../src/addr/ip.ts";

const ipv4Value = fc.bigInt({ min: 0n, max: (1n << 32n) - 1n });
/** Many groups are zero, so that each position of `::` occurs. */
const ipv6Value = fc.array(
  fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 0xffffn })),
  { minLength: 8, maxLength: 8 },
).map((groups) => groups.reduce((value, group) => value << 16n | group, 0n));
const familyAndValue = fc.oneof(
  ipv4Value.map((value): [Family, bigint] => [4, value]),
  ipv6Value.map((value): [Family, bigint] => [6, value]),
);

describe("addresses", () => {
  test("are the same after conversion to text, number and bytes", () => {
    fc.assert(fc.property(familyAndValue, ([family, value]) => {
      const text = formatAddress(family, value);
      expect(familyOf(text)).toBe(family);
      expect(parseIpAddress(text)).toBe(text);
      expect(addressValue(text)).toBe(value);
      expect(addressBytes(text).length).toBe(addressBits(family) / 8);
      expect(addressFromBytes(addressBytes(text))).toBe(text);
    }));
  });

  test("IPv6 text is what the URL standard's serializer (RFC 5952) prints", () => {
    fc.assert(fc.property(ipv6Value, (value) => {
      const text = formatAddress(6, value);
      fc.pre(!text.includes("."));
      expect(`[${text}]`).toBe(new URL(`http://[${text}]/`).hostname);
    }));
  });

  test("all spellings of an IPv6 address have one canonical form", () => {
    expect(String(parseIpAddress("FC00:0000:0:0034:0:0:0:0"))).toBe("fc00:0:0:34::");
    expect(String(parseIpAddress("0:0:0:0:0:ffff:10.0.0.1"))).toBe("::ffff:10.0.0.1");
    expect(String(parseIpAddress("::ffff:a00:1"))).toBe("::ffff:10.0.0.1");
    expect(String(parseIpAddress("1:2:3:4:5:6:7::"))).toBe("1:2:3:4:5:6:7:0");
  });

  test.each(["::a00:1", "::ffff:1", "::1:ffff:a00:1", "1::ffff:a00:1", "::fffe:a00:1"])(
    "%p contains no IPv4 address",
    (text) => {
      expect(String(parseIpAddress(text))).toBe(text);
      expect(nonUnicastKind(text as IpAddress)).toBeUndefined();
    },
  );

  test("an IPv6 address, and nothing else, has brackets in a URL", () => {
    expect(["::1", "10.0.0.1", "host.example"].map(urlHost)).toEqual([
      "[::1]",
      "10.0.0.1",
      "host.example",
    ]);
  });

  test.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1..2.3",
    ".1.2.3",
    "1.2.3.",
    "1.2.3.a",
    "1.2.3./",
    "01.2.3.4",
    "256.1.1.1",
    "1.2.3.-4",
    " 1.2.3.4",
    "1.2.3.4/24",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "[::1]",
    "::1.2.3.4:5",
    "1.2.3.4::",
  ])("%p is not an address", (text) => {
    expect(parseIpAddress(text)).toBe(undefined);
  });

  test("garbage never throws", () => {
    fc.assert(fc.property(fc.string({ unit: fc.constantFrom(..."0159af:./ -") }), (text) => {
      const address = parseIpAddress(text);
      if (address !== undefined) expect(parseIpAddress(address)).toBe(address);
    }));
  });

  test("a value outside the family's range throws", () => {
    expect(() => formatAddress(4, 1n << 32n)).toThrow(RangeError);
    expect(() => formatAddress(4, -1n)).toThrow(RangeError);
    expect(() => formatAddress(6, -1n)).toThrow(RangeError);
    expect(() => addressFromBytes(new Uint8Array(5))).toThrow(RangeError);
  });

  test.each([
    ["0.0.0.0", "unspecified"],
    ["127.1.2.3", "loopback"],
    ["224.0.0.1", "multicast"],
    ["239.255.255.255", "multicast"],
    ["240.0.0.0", "broadcast"],
    ["255.255.255.255", "broadcast"],
    ["10.0.0.1", undefined],
    ["223.255.255.255", undefined],
    ["::", "unspecified"],
    ["::1", "loopback"],
    ["ff02::1", "multicast"],
    ["ff::1", undefined],
    ["::ffff:10.0.0.1", "IPv4-mapped"],
    ["2001:db8::1", undefined],
  ])("nonUnicastKind(%p) is %p", (text, reason) => {
    expect<string | undefined>(nonUnicastKind(text as IpAddress)).toBe(reason);
  });

  test("link-local addresses are those of RFC 3927 and RFC 4291", () => {
    const isLocal = (text: string) => isLinkLocal(text as IpAddress);
    expect(["169.254.1.1", "fe80::1", "febf::1"].map(isLocal)).toEqual([true, true, true]);
    expect(["169.25.4.1", "fec0::1", "fe8::1", "1:fe80::1"].map(isLocal)).not.toContain(true);
  });
});
