/** Access to C memory for code outside this folder. */

import { type Pointer, ptr, read } from "bun:ffi";

export type { Pointer };

/**
 * Address of a buffer's first byte. Keep the buffer referenced as long as C may use the address.
 * For an address that is used in more than one call, use a `fixedBuffer`.
 */
export function addressOf(buffer: Uint8Array | Uint32Array | BigUint64Array): Pointer {
  return ptr(buffer);
}

/**
 * A buffer whose address never changes. The bytes of `new Uint8Array(16)` move when its `buffer` is
 * first accessed, which the runtime's compiler also does in hot functions.
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
