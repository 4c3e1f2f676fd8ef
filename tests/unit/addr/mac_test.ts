import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  localMac,
  type MacAddress,
  macBytes,
  macFromBytes,
  nonUnicastMacKind,
  parseMacAddress,
} from "../../../src/addr/mac.ts";

const sixBytes = fc.uint8Array({ minLength: 6, maxLength: 6 });

describe("MAC addresses", () => {
  test("are the same after conversion to bytes and text", () => {
    fc.assert(fc.property(sixBytes, (bytes) => {
      const mac = macFromBytes(bytes);
      expect(macBytes(mac)).toEqual(bytes);
      expect(parseMacAddress(mac)).toBe(mac);
      expect(parseMacAddress(mac.toUpperCase().replaceAll(":", "-"))).toBe(mac);
    }));
  });

  test("from random bytes are local and unicast", () => {
    fc.assert(fc.property(sixBytes, (bytes) => {
      const mac = localMac(bytes);
      expect((macBytes(mac)[0] as number) & 3).toBe(2);
      expect(nonUnicastMacKind(mac)).toBe(undefined);
    }));
  });

  test("from random bytes use the first six and leave them as they are", () => {
    const random = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    expect(localMac(random)).toBe("02:02:03:04:05:06" as MacAddress);
    expect([...random]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test("have six bytes", () => {
    for (const length of [0, 5, 7]) {
      expect(() => macFromBytes(new Uint8Array(length))).toThrow(
        new RangeError(`a MAC address has 6 bytes, not ${length}`),
      );
    }
  });

  test.each([
    "",
    "aa:bb:cc:dd:ee",
    "aa:bb:cc:dd:ee:ff:00",
    "aa:bb-cc:dd:ee:ff",
    "aabbccddeeff",
    "g0:00:00:00:00:00",
  ])(
    "%p is not a MAC address",
    (text) => expect(parseMacAddress(text)).toBe(undefined),
  );

  test("that are zero or multicast cannot be a device's", () => {
    expect(nonUnicastMacKind("00:00:00:00:00:00" as MacAddress)).toBe("zero");
    expect(nonUnicastMacKind("ff:ff:ff:ff:ff:ff" as MacAddress)).toBe("multicast");
    expect(nonUnicastMacKind("01:00:5e:00:00:01" as MacAddress)).toBe("multicast");
  });
});
