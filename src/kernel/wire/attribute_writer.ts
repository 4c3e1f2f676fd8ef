/** Writes attributes into a netlink message that libnl holds (linux/netlink.h, struct nlattr). */

import type { Libnl } from "../../../ffi/libnl.ts";
import { NLA_F_NESTED } from "../../../ffi/linux.ts";
import type { Pointer } from "../../../ffi/memory.ts";

/** The functions of libnl that the writer needs. */
export type AttributeLibrary = Pick<Libnl, "nla_put" | "nla_nest_start" | "nla_nest_end">;

/** Each method throws `RangeError` if the message has no room for the attribute. */
export class AttributeWriter {
  readonly #nl: AttributeLibrary;
  readonly #message: Pointer;

  constructor(nl: AttributeLibrary, message: Pointer) {
    this.#nl = nl;
    this.#message = message;
  }

  /** An attribute without a payload (NLA_FLAG). */
  flag(type: number): void {
    this.bytes(type, NOTHING);
  }

  u8(type: number, value: number): void {
    this.bytes(type, Uint8Array.of(value));
  }

  u16(type: number, value: number): void {
    this.bytes(type, Uint8Array.of(value, value >>> 8));
  }

  u32(type: number, value: number): void {
    this.bytes(type, Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24));
  }

  /** A 16-bit value in network byte order. */
  be16(type: number, value: number): void {
    this.bytes(type, Uint8Array.of(value >>> 8, value));
  }

  /** A string, with its terminating NUL. */
  text(type: number, text: string): void {
    this.bytes(type, encoder.encode(`${text}\0`));
  }

  bytes(type: number, bytes: Uint8Array): void {
    const source = bytes.length === 0 ? null : bytes;
    if (this.#nl.nla_put(this.#message, type, bytes.length, source) < 0) throw full(type);
  }

  /** An attribute that contains those that `write` writes. */
  nested(type: number, write: (inner: this) => void): void {
    const start = this.#nl.nla_nest_start(this.#message, type | NLA_F_NESTED);
    if (start === null) throw full(type);
    write(this);
    // libnl removes an empty one again.
    if (this.#nl.nla_nest_end(this.#message, start) < 0) throw full(type);
  }
}

const NOTHING = new Uint8Array(0);
const encoder = new TextEncoder();

function full(type: number): RangeError {
  return new RangeError(`a netlink message has no room for attribute ${type}`);
}
