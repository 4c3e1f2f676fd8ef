import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  decodeMessage,
  encodeMessage,
  ViciFormatError,
  type ViciItem,
  type ViciMessage,
} from "../../../../src/backend/ipsec/vici_message.ts";

const name = fc.string({ unit: "grapheme", maxLength: 20 });
const value = fc.string({ unit: "grapheme", maxLength: 40 });
const { message } = fc.letrec<{ message: ViciMessage; item: ViciItem }>((tie) => ({
  item: fc.oneof({ maxDepth: 4 }, value, fc.array(value, { maxLength: 4 }), tie("message")),
  message: fc.dictionary(name, tie("item"), { maxKeys: 5, noNullPrototype: false }),
}));

/** The example of strongSwan's README, "Encoding example", with its bytes. */
const EXAMPLE: ViciMessage = {
  key1: "value1",
  section1: { "sub-section": { key2: "value2" }, list1: ["item1", "item2"] },
};
const EXAMPLE_BYTES = Buffer.from(
  "\x03\x04key1\x00\x06value1\x01\x08section1\x01\x0bsub-section\x03\x04key2\x00\x06value2\x02" +
    "\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06\x02",
  "latin1",
);

/** JSON has no prototypes: only the items are compared. */
function plain(message: ViciMessage): unknown {
  return JSON.parse(JSON.stringify(message));
}

describe("a VICI message", () => {
  test("has the bytes of strongSwan's own example", () => {
    expect(Buffer.from(encodeMessage(EXAMPLE))).toEqual(EXAMPLE_BYTES);
    expect(plain(decodeMessage(EXAMPLE_BYTES))).toEqual(EXAMPLE);
  });

  test("is decoded as it was encoded", () => {
    fc.assert(
      fc.property(message, (message) => {
        expect(plain(decodeMessage(encodeMessage(message)))).toEqual(plain(message));
      }),
      { numRuns: 2000 },
    );
  });

  test("may have items with names that are special in JavaScript", () => {
    const bytes = Buffer.from("\x01\x09__proto__\x03\x03key\x00\x05value\x02", "latin1");
    const decoded = decodeMessage(bytes);
    expect(Object.keys(decoded)).toEqual(["__proto__"]);
    expect(({} as Record<string, unknown>)["key"]).toBeUndefined();
    expect(decoded["toString"]).toBeUndefined();
    expect(Buffer.from(encodeMessage(decoded))).toEqual(bytes);
  });

  test.each([
    ["an unknown element", "\x07"],
    ["a name that is truncated", "\x03\x04key"],
    ["a value that is truncated", "\x03\x01k\x00\x02v"],
    ["a length that is truncated", "\x03\x01k\x00"],
    ["a section that is not closed", "\x01\x01s"],
    ["a section that was not opened", "\x02"],
    ["a list that is not closed", "\x04\x01l\x05\x00\x01v"],
    ["a list in a list", "\x04\x01l\x04\x01m"],
    ["a list item outside a list", "\x05\x00\x01v"],
    ["a list that was not opened", "\x06"],
  ])("with %s is refused", (_what, bytes) => {
    expect(() => decodeMessage(Buffer.from(bytes, "latin1"))).toThrow(ViciFormatError);
  });

  test("is refused, without showing it, when a value does not fit", () => {
    const secret = "s".repeat(0x10000);
    expect(() => encodeMessage({ data: secret })).toThrow("a value of 65536 bytes");
    expect(() => encodeMessage({ data: secret })).not.toThrow("sss");
    expect(() => encodeMessage({ ["n".repeat(256)]: "" })).toThrow(ViciFormatError);
  });

  test("is refused if it is nested deeper than charon's messages", () => {
    expect(() => decodeMessage(new Uint8Array(2 * 100_000).map((_, i) => i % 2 === 0 ? 1 : 0)))
      .toThrow("more than 100 nested sections");
  });

  test("is decoded or refused with ViciFormatError, with any bytes", () => {
    const elements = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      // Mostly elements, so that it gets further than the first byte.
      fc.array(fc.constantFrom(0, 1, 2, 3, 4, 5, 6), { maxLength: 60 }).map((a) =>
        Uint8Array.from(a)
      ),
    );
    let refused = 0;
    fc.assert(
      fc.property(elements, (bytes) => {
        try {
          decodeMessage(bytes);
        } catch (error) {
          refused++;
          if (!(error instanceof ViciFormatError)) throw error;
        }
      }),
      { numRuns: 100_000 },
    );
    expect(refused).toBeGreaterThan(10_000);
    expect(refused).toBeLessThan(100_000);
  });
});
