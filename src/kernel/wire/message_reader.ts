/**
 * Reading netlink messages and attributes from a received buffer (RFC 3549; linux/netlink.h).
 *
 * No length is trusted: a message or attribute that extends past its container ends the iteration,
 * and a value that is shorter than its type reads as absent.
 */

import { NLA_F_NESTED, NLA_F_NET_BYTEORDER, nlattr, nlmsghdr } from "../../../ffi/linux.ts";

/** Walks the messages of one received buffer. */
export class MessageReader {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  type = 0;
  flags = 0;
  sequence = 0;
  /** Port id of the socket whose request caused this notification; 0 if unknown. */
  portId = 0;
  /** First byte after the message header. */
  start = 0;
  /** First byte after the message. */
  end = 0;
  #next = 0;
  #limit = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Restarts at the beginning of the buffer, of which `length` bytes are valid. */
  reset(length: number): void {
    this.#next = 0;
    this.#limit = Math.min(length, this.bytes.length);
  }

  /** Moves to the next message; false at the end, or at bytes that are not a message. */
  next(): boolean {
    const at = this.#next;
    if (this.#limit - at < nlmsghdr.size) return false;
    const length = this.view.getUint32(at + nlmsghdr.nlmsg_len, true);
    if (length < nlmsghdr.size || length > this.#limit - at) return false;
    this.type = this.view.getUint16(at + nlmsghdr.nlmsg_type, true);
    this.flags = this.view.getUint16(at + nlmsghdr.nlmsg_flags, true);
    this.sequence = this.view.getUint32(at + nlmsghdr.nlmsg_seq, true);
    this.portId = this.view.getUint32(at + nlmsghdr.nlmsg_pid, true);
    this.start = at + nlmsghdr.size;
    this.end = at + length;
    this.#next = at + align(length);
    return true;
  }
}

/**
 * The attributes of a message or of a nested attribute, by type. Of duplicates, the last counts.
 */
export class Attributes {
  readonly #offsets = new Int32Array(MAX_TYPE + 1);
  readonly #lengths = new Int32Array(MAX_TYPE + 1);
  #message: MessageReader | undefined;

  /** Indexes the attributes between two offsets of the message's buffer. */
  read(message: MessageReader, start: number, end: number): this {
    this.#message = message;
    this.#offsets.fill(0);
    const { view } = message;
    for (let at = start; end - at >= nlattr.size;) {
      const length = view.getUint16(at + nlattr.nla_len, true);
      if (length < nlattr.size || length > end - at) break;
      const type = view.getUint16(at + nlattr.nla_type, true) & NLA_TYPE_MASK;
      if (type <= MAX_TYPE) {
        this.#offsets[type] = at + nlattr.size;
        this.#lengths[type] = length - nlattr.size;
      }
      at += align(length);
    }
    return this;
  }

  has(type: number): boolean {
    return this.#offsets[type] !== 0;
  }

  u8(type: number): number | undefined {
    const at = this.#at(type, 1);
    return at === 0 ? undefined : this.#view.getUint8(at);
  }

  u16(type: number): number | undefined {
    const at = this.#at(type, 2);
    return at === 0 ? undefined : this.#view.getUint16(at, true);
  }

  u32(type: number): number | undefined {
    const at = this.#at(type, 4);
    return at === 0 ? undefined : this.#view.getUint32(at, true);
  }

  /** A 16-bit value in network byte order. */
  be16(type: number): number | undefined {
    const at = this.#at(type, 2);
    return at === 0 ? undefined : this.#view.getUint16(at, false);
  }

  /** The payload as a view of the buffer; valid until the buffer is filled again. */
  bytes(type: number): Uint8Array | undefined {
    const at = this.#at(type, 0);
    if (at === 0) return undefined;
    return this.#message?.bytes.subarray(at, at + (this.#lengths[type] as number));
  }

  /** A string with or without its terminating NUL. */
  text(type: number): string | undefined {
    const bytes = this.bytes(type);
    if (bytes === undefined) return undefined;
    const nul = bytes.indexOf(0);
    return decoder.decode(nul < 0 ? bytes : bytes.subarray(0, nul));
  }

  /**
   * Indexes the attributes nested in attribute `type` into `inner`; `undefined` if it is absent.
   */
  nested(type: number, inner: Attributes): Attributes | undefined {
    const at = this.#at(type, 0);
    if (at === 0 || this.#message === undefined) return undefined;
    return inner.read(this.#message, at, at + (this.#lengths[type] as number));
  }

  /** Calls `visit` with the bounds of each attribute nested in attribute `type`, in order. */
  each(type: number, visit: (start: number, end: number) => void): void {
    let at = this.#at(type, 0);
    if (at === 0) return;
    const view = this.#view;
    for (const end = at + (this.#lengths[type] as number); end - at >= nlattr.size;) {
      const length = view.getUint16(at + nlattr.nla_len, true);
      if (length < nlattr.size || length > end - at) return;
      visit(at + nlattr.size, at + length);
      at += align(length);
    }
  }

  get #view(): DataView {
    return (this.#message as MessageReader).view;
  }

  #at(type: number, size: number): number {
    return (this.#lengths[type] as number) < size ? 0 : this.#offsets[type] as number;
  }
}

/** Larger than every attribute type that this program reads. */
const MAX_TYPE = 63;
/** linux/netlink.h; the rest of an attribute's type is flags. */
const NLA_TYPE_MASK = 0xffff & ~(NLA_F_NESTED | NLA_F_NET_BYTEORDER);
const decoder = new TextDecoder();

/** NLMSG_ALIGN and NLA_ALIGN: up to a multiple of 4. */
function align(length: number): number {
  return (length + 3) & ~3;
}
