/**
 * Fields of protobuf messages, for the few that are read of large ones.
 * https://protobuf.dev/programming-guides/encoding/
 */

import { MalformedObject } from "./malformed_object.ts";

/** Where a field's value is: without its length. */
export interface ProtobufField {
  readonly number: number;
  readonly start: number;
  readonly end: number;
}

/**
 * The field that begins at this offset; it may end after the bytes. `undefined` if they end before
 * its length is known. Throws `MalformedObject`.
 */
export function fieldAt(bytes: Uint8Array, offset: number): ProtobufField | undefined {
  const tag = varintAt(bytes, offset);
  if (tag === undefined) return undefined;
  const [number, type] = [Math.floor(tag.value / 8), tag.value % 8];
  const fixed = (length: number) => ({ number, start: tag.end, end: tag.end + length });
  switch (type) {
    case 0: {
      const value = varintAt(bytes, tag.end);
      return value && { number, start: tag.end, end: value.end };
    }
    case 1:
      return fixed(8);
    case 2: {
      const length = varintAt(bytes, tag.end);
      return length && { number, start: length.end, end: length.end + length.value };
    }
    case 5:
      return fixed(4);
    default:
      throw new MalformedObject(`field ${number} of a message has the unknown type ${type}`);
  }
}

/** The fields of a whole message, each with the bytes of its value. Throws `MalformedObject`. */
export function* fieldsOf(
  message: Uint8Array,
): Generator<[number: number, value: Uint8Array], void, undefined> {
  for (let offset = 0; offset < message.length;) {
    const field = fieldAt(message, offset);
    if (field === undefined || field.end > message.length) {
      throw new MalformedObject("a message ends in the middle of a field");
    }
    yield [field.number, message.subarray(field.start, field.end)];
    offset = field.end;
  }
}

export function textValue(bytes: Uint8Array): string {
  return DECODER.decode(bytes);
}

/** Of a value that is not negative; exact up to 2⁵³. */
export function varintValue(bytes: Uint8Array): number {
  return varintAt(bytes, 0)?.value ?? 0;
}

const DECODER = new TextDecoder();

function varintAt(
  bytes: Uint8Array,
  offset: number,
): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  for (let i = 0; i < MAX_VARINT_BYTES; i++) {
    const byte = bytes[offset + i];
    if (byte === undefined) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return { value, end: offset + i + 1 };
  }
  throw new MalformedObject(`a number in a message has more than ${MAX_VARINT_BYTES} bytes`);
}

/** Of 64 bits, seven in each byte. */
const MAX_VARINT_BYTES = 10;
