/** Fields of protobuf messages. */

import { expect, test } from "bun:test";
import { MalformedObject } from "../../../src/kube/malformed_object.ts";
import { ProtobufFields } from "../../../src/kube/protobuf_fields.ts";
import { message } from "../../support/kube_protobuf.ts";

const CUT = "a message ends in the middle of a field";

/** All fields, as `NUMBER START-END`. */
function read(...bytes: number[]): string[] {
  const fields = new ProtobufFields(Buffer.from(bytes));
  const found: string[] = [];
  while (fields.next()) found.push(`${fields.number} ${fields.start}-${fields.end}`);
  return found;
}

function failure(...bytes: number[]): string {
  try {
    read(...bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedObject);
    return (error as Error).message;
  }
  throw new Error("it was read");
}

test("the fields of each type are found, with the place of their values", () => {
  const fixed64 = [0x09, 1, 2, 3, 4, 5, 6, 7, 8];
  const fixed32 = [0x15, 1, 2, 3, 4];
  const varint = [0x18, 0x96, 0x01];
  const bytes = [0x22, 2, 0x61, 0x62];
  expect(read(...fixed64, ...fixed32, ...varint, ...bytes))
    .toEqual(["1 1-9", "2 10-14", "3 15-17", "4 19-21"]);
  // The number of a field may have several bytes, too.
  expect(read(0x82, 0x7d, 0)).toEqual(["2000 3-3"]);
  expect(read()).toEqual([]);
});

test("texts, numbers and messages are those that were written", () => {
  const inner = message([[1, "ü"], [2, 300]]);
  const fields = new ProtobufFields(Buffer.from(message([[7, inner], [8, "after"]])));
  expect(fields.next()).toBe(true);
  const within = fields.fields();
  expect(within.next()).toBe(true);
  expect(within.text()).toBe("ü");
  expect(within.next()).toBe(true);
  expect(within.varint()).toBe(300);
  expect(within.next()).toBe(false);
  expect(fields.next()).toBe(true);
  expect([fields.number, fields.text()]).toEqual([8, "after"]);
  expect(fields.next()).toBe(false);
});

test.each([0, 1, 127, 128, 129, 16_383, 16_384, 2 ** 31, 2 ** 35 + 1, 2 ** 53 - 1])(
  "the number %p is read",
  (number) => {
    const fields = new ProtobufFields(Buffer.from(message([[1, number]])));
    expect(fields.next()).toBe(true);
    expect(fields.varint()).toBe(number);
  },
);

test("a message that is cut in a field is refused", () => {
  for (const bytes of [[0x80], [0x08], [0x08, 0x80], [0x22], [0x22, 2, 0x61], [0x09, 1], [0x15]]) {
    expect(failure(...bytes)).toBe(CUT);
  }
  // An inner message may not read on in the outer one.
  const fields = new ProtobufFields(Buffer.from([0x0a, 2, 0x12, 5, 1, 1, 1, 1, 1]));
  fields.next();
  expect(() => fields.fields().next()).toThrow(CUT);
  const varint = new ProtobufFields(Buffer.from([0x0a, 2, 0x08, 0x80, 1]));
  varint.next();
  expect(() => varint.fields().next()).toThrow(CUT);
});

test("unknown types and numbers of more than ten bytes are refused", () => {
  expect(failure(0x0b)).toBe("field 1 of a message has the unknown type 3");
  expect(failure(0x14)).toBe("field 2 of a message has the unknown type 4");
  expect(failure(0x0f)).toBe("field 1 of a message has the unknown type 7");
  const ten = new Array(9).fill(0xff);
  expect(read(0x08, ...ten, 1)).toEqual(["1 1-11"]);
  expect(failure(0x08, ...ten, 0xff, 1)).toBe("a number in a message has more than 10 bytes");
});

test("a field is found before its value has arrived, but not before its length has", () => {
  const bytes = Buffer.from([0xff, 0x0a, 0x80, 0x02, 0x61]);
  expect(ProtobufFields.at(bytes, 1)).toMatchObject({ number: 1, start: 4, end: 260 });
  for (const length of [1, 2, 3]) {
    expect(ProtobufFields.at(bytes.subarray(0, length), 1)).toBe(undefined);
  }
});
