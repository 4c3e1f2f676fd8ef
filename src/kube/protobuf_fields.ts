/**
 * Fields of protobuf messages, for the few that are read of large ones.
 * https://protobuf.dev/programming-guides/encoding/
 */

import { MalformedObject } from "./malformed_object.ts";

/**
 * Moves through the fields of one message, without an object for each of them: a list of 5 000
 * nodes has 300 000.
 */
export class ProtobufFields {
  /** Of the current field. */
  number = 0;
  /** Where the value of the current field is: without its length. */
  start = 0;
  end = 0;
  readonly #bytes: Buffer;
  readonly #limit: number;
  #offset: number;

  /** The message is between two offsets of these bytes. */
  constructor(bytes: Buffer, start = 0, limit = bytes.length) {
    this.#bytes = bytes;
    this.#offset = start;
    this.#limit = limit;
  }

  /**
   * The field that begins at this offset; it may end after the bytes. `undefined` if they end
   * before its length is known. Throws `MalformedObject`.
   */
  static at(bytes: Buffer, offset: number): ProtobufFields | undefined {
    const fields = new ProtobufFields(bytes, offset);
    return fields.#readHead() ? fields : undefined;
  }

  /** Moves to the next field; false at the end of the message. Throws `MalformedObject`. */
  next(): boolean {
    if (this.#offset >= this.#limit) return false;
    if (!this.#readHead() || this.end > this.#limit) {
      throw new MalformedObject("a message ends in the middle of a field");
    }
    this.#offset = this.end;
    return true;
  }

  /** The fields of the current field, which is a message. */
  fields(): ProtobufFields {
    return new ProtobufFields(this.#bytes, this.start, this.end);
  }

  /** The current field as text. */
  text(): string {
    return this.#bytes.toString("utf8", this.start, this.end);
  }

  /** The current field as a number that is not negative; exact up to 2⁵³. */
  varint(): number {
    return Math.max(new ProtobufFields(this.#bytes, this.start, this.end).#readVarint(), 0);
  }

  #readHead(): boolean {
    const tag = this.#readVarint();
    if (tag < 0) return false;
    const type = tag % 8;
    this.number = (tag - type) / 8;
    const length = this.#readLength(type);
    if (length < 0) return false;
    this.start = this.#offset;
    this.end = this.#offset + length;
    return true;
  }

  /** The value's length; negative if it is not known yet. The value then begins at the offset. */
  #readLength(type: number): number {
    switch (type) {
      case 0: {
        const start = this.#offset;
        if (this.#readVarint() < 0) return -1;
        const length = this.#offset - start;
        this.#offset = start;
        return length;
      }
      case 1:
        return 8;
      case 2:
        return this.#readVarint();
      case 5:
        return 4;
      default:
        throw new MalformedObject(`field ${this.number} of a message has the unknown type ${type}`);
    }
  }

  /** Negative if the bytes end before it does. */
  #readVarint(): number {
    let value = 0;
    let factor = 1;
    for (let i = 0; i < MAX_VARINT_BYTES; i++) {
      if (this.#offset >= this.#limit) return -1;
      const byte = this.#bytes[this.#offset++] as number;
      if (byte < 0x80) return value + byte * factor;
      value += (byte - 0x80) * factor;
      factor *= 0x80;
    }
    throw new MalformedObject(`a number in a message has more than ${MAX_VARINT_BYTES} bytes`);
  }
}

/** Of 64 bits, seven in each byte. */
const MAX_VARINT_BYTES = 10;
