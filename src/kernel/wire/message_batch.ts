/** Netlink messages built by libnl, gathered in one buffer for one send(2). */

import { libc } from "../../../ffi/libc.ts";
import { type LibnlCore, libnlCore } from "../../../ffi/libnl.ts";
import { NLM_F_ACK, NLM_F_REQUEST, nlmsghdr } from "../../../ffi/linux.ts";
import { addressOf, type Pointer, readUint32 } from "../../../ffi/memory.ts";

/** The largest message has about 250 bytes: a vxlan device or a policy with all attributes. */
const MESSAGE_BYTES = 512;
const BATCH_BYTES = 64 * 1024;
const NLMSG_ALIGNTO = 4; // linux/netlink.h

export class MessageBatch {
  readonly #nl: LibnlCore = libnlCore();
  readonly #buffer = new Uint8Array(BATCH_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  /** Address of the buffer, for the socket. */
  readonly address: Pointer = addressOf(this.#buffer);
  #length = 0;
  #count = 0;
  #lastAt = 0;

  constructor() {
    // libnl allocates and clears a page for each message by default, far more than any message
    // here.
    this.#nl.nlmsg_set_default_size(MESSAGE_BYTES);
  }

  /** Bytes in the buffer. */
  get length(): number {
    return this.#length;
  }

  /** Messages in the buffer. */
  get count(): number {
    return this.#count;
  }

  /** The messages gathered so far: a view of the buffer. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Whether there is room for one more message. */
  get hasRoom(): boolean {
    return BATCH_BYTES - this.#length >= MESSAGE_BYTES;
  }

  clear(): void {
    this.#length = 0;
    this.#count = 0;
  }

  /** Sets the sequence numbers, from `first` up. */
  number(first: number): void {
    let at = 0;
    for (let i = 0; i < this.#count; i++) {
      this.#view.setUint32(at + nlmsghdr.nlmsg_seq, first + i, true);
      this.#lastAt = at;
      at += align(this.#view.getUint32(at + nlmsghdr.nlmsg_len, true));
    }
  }

  /** Requests an acknowledgement of the last message; call it after `number`. */
  acknowledgeLast(): void {
    this.#addFlags(this.#lastAt, NLM_F_ACK);
  }

  /** Appends a message with this header; `attributes` adds attributes to it (struct nl_msg). */
  build(
    type: number,
    flags: number,
    header: Uint8Array,
    attributes?: (message: Pointer) => void,
  ): void {
    const message = allocated(this.#nl.nlmsg_alloc_simple(type, flags));
    this.#nl.nlmsg_append(message, addressOf(header), header.length, NLMSG_ALIGNTO);
    attributes?.(message);
    this.take(message);
  }

  /** Appends one of libnl's messages (struct nl_msg), and frees it. */
  take(message: Pointer): void {
    try {
      const header = allocated(this.#nl.nlmsg_hdr(message));
      const length = readUint32(header);
      if (this.#length + align(length) > BATCH_BYTES) throw new RangeError("the batch is full");
      libc().memcpy((this.address + this.#length) as Pointer, header, length);
      this.#addFlags(this.#length, NLM_F_REQUEST);
      this.#length += align(length);
      this.#count++;
    } finally {
      this.#nl.nlmsg_free(message);
    }
  }

  #addFlags(at: number, flags: number): void {
    const flagsAt = at + nlmsghdr.nlmsg_flags;
    this.#view.setUint16(flagsAt, this.#view.getUint16(flagsAt, true) | flags, true);
  }
}

/** The result of an allocating function of libnl. Throws an `Error` if it is null. */
export function allocated(pointer: Pointer | number | bigint | null): Pointer {
  if (pointer === null || pointer === 0) throw new Error("libnl is out of memory");
  return pointer as Pointer;
}

function align(length: number): number {
  return (length + 3) & ~3;
}
