/** Access to C memory for code outside this folder. */

import { type Pointer, ptr, read } from "bun:ffi";

export type { Pointer };

/**
 * Address of a buffer's first byte. Keep the buffer referenced for as long as C may use the address;
 * an address that is used for longer than one call is that of a `fixedBuffer`.
 */
export function addressOf(buffer: Uint8Array | Uint32Array | BigUint64Array): Pointer {
  return ptr(buffer);
}

/**
 * A buffer that stays where it is. The bytes of `new Uint8Array(16)` move when its `buffer` is first
 * asked for, which the compiler of a hot function also does.
 */
export function fixedBuffer(length: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(length));
}

/** The pointer stored at `at`. */
export function readPointer(at: Pointer): Pointer {
  return read.ptr(at, 0) as Pointer;
}

export function readUint32(at: Pointer): number {
  return read.u32(at, 0);
}

/** NUL-terminated bytes of `text` for an argument of type `const char *`. */
export function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}
