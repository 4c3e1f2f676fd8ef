import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ViciFormatError } from "../../../../src/backend/ipsec/vici_message.ts";
import {
  CMD_REQUEST,
  CMD_RESPONSE,
  decodePacket,
  encodePacket,
  EVENT,
  PacketReader,
} from "../../../../src/backend/ipsec/vici_packet.ts";

describe("a VICI packet", () => {
  test("of a command has length, type, name and message", () => {
    expect(Buffer.from(encodePacket(CMD_REQUEST, "load", { a: "b" })).toString("latin1"))
      .toBe("\x00\x00\x00\x0c\x00\x04load\x03\x01a\x00\x01b");
  });

  test("is found in a stream in pieces of any size", () => {
    const names = ["a", "list-sa", "x".repeat(200)];
    const stream = Buffer.concat(names.map((name) => encodePacket(EVENT, name, { key: name })));
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (sizes) => {
      const reader = new PacketReader();
      const found: string[] = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        const size = sizes[i % sizes.length] as number;
        for (const { name, message } of reader.push(stream.subarray(at, at + size))) {
          expect(message["key"]).toBe(name);
          found.push(name);
        }
        at += size;
      }
      expect(found).toEqual(names);
    }));
  });

  test("of a response has no name", () => {
    expect(decodePacket(Buffer.from("\x01\x03\x01a\x00\x01b", "latin1"))).toMatchObject({
      type: CMD_RESPONSE,
      name: "",
      message: { a: "b" },
    });
  });

  test("that is too long is refused at once", () => {
    const reader = new PacketReader();
    expect(() => reader.push(Buffer.from([0x10, 0, 0, 0]))).toThrow("longer than 524288");
    expect(() => encodePacket(CMD_REQUEST, "n".repeat(300))).toThrow(ViciFormatError);
  });

  test("is read or refused with ViciFormatError, with any bytes", () => {
    const short = fc.tuple(fc.integer({ min: 0, max: 40 }), fc.uint8Array({ maxLength: 60 }));
    fc.assert(
      fc.property(short, ([length, bytes]) => {
        try {
          const reader = new PacketReader();
          reader.push(Uint8Array.of(0, 0, 0, length));
          reader.push(bytes);
        } catch (error) {
          if (!(error instanceof ViciFormatError)) throw error;
        }
      }),
      { numRuns: 100_000 },
    );
  });
});
