import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { PerFamily } from "../../../src/addr/family.ts";
import { type Family, formatAddress, type IpAddress } from "../../../src/addr/ip.ts";
import { makePrefix, type Prefix } from "../../../src/addr/prefix.ts";
import type { LeaseAttributes } from "../../../src/subnet/lease.ts";
import {
  decodeLease,
  decodeLeaseKey,
  decodeLeaseValue,
  encodeLeaseKey,
  encodeLeaseValue,
  isInvalidLease,
} from "../../../src/subnet/lease_codec.ts";

const RUNS = { numRuns: 10_000 };

const address = (family: Family) =>
  fc.bigInt({ min: 1n, max: (1n << (family === 4 ? 32n : 128n)) - 1n })
    .map((value) => formatAddress(family, value));

const subnet = (family: Family) =>
  fc.tuple(address(family), fc.integer({ min: 1, max: family === 4 ? 32 : 128 }))
    .map(([first, length]) => makePrefix(first, length));

const someFamilies = <T>(make: (family: Family) => fc.Arbitrary<T>) =>
  fc.record({ 4: make(4), 6: make(6) }, { requiredKeys: [] }) as fc.Arbitrary<PerFamily<T>>;

/** JSON text as Go wrote it for the same attributes. */
const GO_VALUES: [string, LeaseAttributes, string][] = [
  [
    "vxlan",
    {
      publicAddresses: { 4: "192.168.64.3" as IpAddress },
      backendType: "vxlan",
      backendData: { 4: { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:44" } },
    },
    '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",' +
    '"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
  ],
  [
    "alloc, which has no type",
    { publicAddresses: { 4: "1.2.3.4" as IpAddress }, backendType: "", backendData: {} },
    '{"PublicIP":"1.2.3.4","PublicIPv6":null}',
  ],
  [
    "IPv6 only",
    {
      publicAddresses: { 6: "fc00::1" as IpAddress },
      backendType: "host-gw",
      backendData: { 6: { b: 1, a: null } },
    },
    '{"PublicIP":"0.0.0.0","PublicIPv6":"fc00::1","BackendType":"host-gw",' +
    '"BackendV6Data":{"b":1,"a":null}}',
  ],
  [
    "a string with characters that Go escapes",
    {
      publicAddresses: { 4: "1.2.3.4" as IpAddress },
      backendType: "extension",
      backendData: { 4: "a<b>&c\u2028 é" },
    },
    '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"extension",' +
    '"BackendData":"a\\u003cb\\u003e\\u0026c\\u2028 é"}',
  ],
];

describe("lease keys", () => {
  test.each<[PerFamily<string>, string]>([
    [{ 4: "10.5.52.0/24" }, "10.5.52.0-24"],
    [{ 4: "10.5.52.0/24", 6: "fc00:0:0:34::/64" }, "10.5.52.0-24&fc00:0:0:34::-64"],
    [{ 6: "fc00:0:0:34::/64" }, "0.0.0.0-0&fc00:0:0:34::-64"],
  ])("of %p is %p", (subnets, key) => {
    expect(String(encodeLeaseKey(subnets as PerFamily<Prefix>))).toBe(key);
    expect<unknown>(decodeLeaseKey(key)).toEqual(subnets);
  });

  test("survive the way there and back", () => {
    fc.assert(
      fc.property(someFamilies(subnet), (subnets) => {
        fc.pre(subnets[4] !== undefined || subnets[6] !== undefined);
        expect(decodeLeaseKey(encodeLeaseKey(subnets))).toEqual(subnets);
      }),
      RUNS,
    );
  });

  test("a key for every address there is names that subnet, so that it can be refused", () => {
    expect<unknown>(decodeLeaseKey("0.0.0.0-0")).toEqual({ 4: "0.0.0.0/0" });
  });

  test.each([
    "",
    "config",
    "10.5.52.0",
    "10.5.52.0/24",
    "10.5.52.1-24",
    "10.5.52.0-33",
    "10.5.52.0-24&",
    "10.5.52.0-24&10.6.0.0-24",
    "10.5.52.0-24&FC00::-64",
    "10.5.52.0-24&fc00::1-64",
    "10.5.52.0-24&fc00::-64&fc01::-64",
    "fc00::-64",
    "fc00::-64&10.5.52.0-24",
    "x10.5.52.0-24",
  ])("%p is not one", (key) => {
    expect(decodeLeaseKey(key)).toBe(undefined);
  });
});

describe("lease values", () => {
  test.each(GO_VALUES)("of %s are written byte for byte as Go does, and read back", (...row) => {
    const [, attributes, text] = row;
    expect(encodeLeaseValue(attributes)).toBe(text);
    expect(decodeLeaseValue(text)).toEqual(attributes);
  });

  test("survive the way there and back", () => {
    const data = fc.jsonValue().filter((value) => value !== null && !hasNegativeZero(value));
    const attributes: fc.Arbitrary<LeaseAttributes> = fc.record({
      publicAddresses: someFamilies(address),
      backendType: fc.string(),
      backendData: someFamilies(() => data),
    });
    fc.assert(
      fc.property(attributes, (value) => {
        expect(decodeLeaseValue(encodeLeaseValue(value))).toEqual(value);
      }),
      RUNS,
    );
  });

  test("are read as Go reads them: keys in any case, unknown ones, null and absent parts", () => {
    const expected = {
      publicAddresses: { 4: "1.2.3.4" },
      backendType: "vxlan",
      backendData: {},
    };
    const text = '{"publicip":"1.2.3.4","BACKENDTYPE":"vxlan","BackendData":null,"Extra":[1]}';
    expect<unknown>(decodeLeaseValue(text)).toEqual(expected);
    expect<unknown>(decodeLeaseValue("{}")).toStrictEqual({
      publicAddresses: {},
      backendType: "",
      backendData: {},
    });
  });

  test("take nothing from a prototype that they bring along", () => {
    const text = '{"__proto__":{"publicip":"1.2.3.4","backendtype":"vxlan"}}';
    expect(decodeLeaseValue(text)).toEqual(decodeLeaseValue("{}"));
  });

  test.each([
    ["{", "its value is not JSON"],
    ["[]", "its value is not a JSON object"],
    ["null", "its value is not a JSON object"],
    ['{"PublicIP":""}', "its PublicIP is not an IPv4 address"],
    ['{"PublicIP":17}', "its PublicIP is not an IPv4 address"],
    ['{"PublicIP":"fc00::1"}', "its PublicIP is not an IPv4 address"],
    ['{"PublicIPv6":"1.2.3.4"}', "its PublicIPv6 is not an IPv6 address"],
    ['{"BackendType":5}', "its BackendType is not a string"],
  ])("%p gives the reason %p", (text, reason) => {
    expect<unknown>(decodeLeaseValue(text)).toBe(reason);
  });

  test("an entry at which this program fails gives a reason and the fault", () => {
    const failing = (fault: unknown) => ({
      key: "10.5.2.0-24",
      created: 1n,
      changed: 1n,
      get value(): string {
        throw fault;
      },
    });
    const fault = new RangeError("Maximum call stack size exceeded.");
    expect<unknown>(decodeLease(failing(fault))).toEqual({
      key: "10.5.2.0-24",
      reason: "this program cannot process it: Maximum call stack size exceeded.",
      fault,
    });
    expect<unknown>(decodeLease(failing("a text"))).toMatchObject({
      reason: "this program cannot process it: a text",
      fault: new Error("a text"),
    });
  });

  test("garbage gives a reason and never throws", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), fc.string(), (value, key) => {
        const lease = decodeLease({ key, value, created: 1n, changed: 1n });
        if (isInvalidLease(lease)) expect(lease.reason).not.toBe("");
      }),
      RUNS,
    );
  });
});

function hasNegativeZero(value: unknown): boolean {
  if (typeof value === "number") return Object.is(value, -0);
  return typeof value === "object" && value !== null && Object.values(value).some(hasNegativeZero);
}

describe("a value of an unreasonable size", () => {
  const entry = (value: string) => ({ key: "10.5.2.0-24", value, ...REVISIONS });
  const REVISIONS = { created: 1n, changed: 1n };
  const nested = (depth: number) =>
    `{"PublicIP":"192.0.2.1","BackendData":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;

  test("is not read, and the reason names the size", () => {
    expect(decodeLease(entry(nested(32)))).toMatchObject({ subnets: { 4: "10.5.2.0/24" } });
    expect(decodeLease(entry(nested(33)))).toMatchObject({
      reason: "its value is nested 33 levels deep, more than 32",
    });
    expect(decodeLease(entry(nested(60_000)))).toMatchObject({
      reason: "its value is nested 60000 levels deep, more than 32",
    });
    const long = `{"PublicIP":"192.0.2.1","BackendType":"${"x".repeat(1_400_000)}"}`;
    expect(decodeLease(entry(long))).toMatchObject({
      reason: "its value has 1400041 bytes, more than 524288",
    });
  });

  test("is not one of the extension backend, which may publish 64 KiB of any text", () => {
    const data = "\u0001".repeat(64 * 1024);
    const attributes = {
      publicAddresses: { 4: "192.0.2.1" as IpAddress },
      backendType: "extension",
      backendData: { 4: data },
    };
    expect(decodeLease(entry(encodeLeaseValue(attributes)))).toMatchObject({ attributes });
  });

  test("counts no brackets in text, and those of an escaped quote", () => {
    const text = JSON.stringify({ PublicIP: "192.0.2.1", BackendData: `\\"${"[{".repeat(100)}` });
    expect(decodeLease(entry(text))).toMatchObject({ subnets: { 4: "10.5.2.0/24" } });
  });
});
