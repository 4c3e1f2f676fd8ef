/**
 * Buffers for packets, and the arrays of sendmmsg(2) and recvmmsg(2) that point to them. They are
 * allocated once: no packet needs an allocation.
 */

import * as k from "../../../ffi/linux.ts";
import { addressOf, type Pointer } from "../../../ffi/memory.ts";

/** At most one GSO message: the smallest UDP_MAX_SEGMENTS of all kernels (linux/udp.h). */
export const SLOTS = 64;
/** Room for the largest IPv4 packet. */
export const SLOT_BYTES = 64 * 1024;
/**
 * From one packet to the next. Not a power of two, because then the headers of all packets would
 * compete for the same few cache lines.
 */
export const SLOT_DISTANCE = SLOT_BYTES + 24 * 64;

export class PacketSlots {
  /** The packets; the one in a slot begins at `slot * SLOT_DISTANCE`. */
  readonly view: DataView<ArrayBuffer> = blank(SLOTS * SLOT_DISTANCE);
  readonly #iovecs = blank(SLOTS * k.iovec.size);
  readonly #messages = blank(SLOTS * k.mmsghdr.size);
  readonly #names = blank(SLOTS * k.sockaddr_in.size);
  readonly #controls = blank(SLOTS * CONTROL_BYTES);
  readonly #addresses = {
    packets: addressIn(this.view),
    iovecs: addressIn(this.#iovecs),
    messages: addressIn(this.#messages),
    names: addressIn(this.#names),
    controls: addressIn(this.#controls),
  };

  /** At first, each message contains the packet of its slot. */
  constructor() {
    for (let slot = 0; slot < SLOTS; slot++) {
      const iovec = slot * k.iovec.size;
      writeAddress(this.#iovecs, iovec + k.iovec.iov_base, this.packet(slot));
      this.setLength(slot, SLOT_BYTES);
      this.#names.setUint16(slot * k.sockaddr_in.size + k.sockaddr_in.sin_family, k.AF_INET, true);
      const control = slot * CONTROL_BYTES;
      this.#controls.setUint32(control + k.cmsghdr.cmsg_len, k.cmsghdr.size + 2, true);
      this.#controls.setInt32(control + k.cmsghdr.cmsg_level, k.IPPROTO_UDP, true);
      this.#controls.setInt32(control + k.cmsghdr.cmsg_type, k.UDP_SEGMENT, true);
      this.#pointTo(slot, slot, 1);
    }
  }

  /** Address of a slot's packet. */
  packet(slot: number): Pointer {
    return this.#addresses.packets + slot * SLOT_DISTANCE as Pointer;
  }

  /** Address of the message, for the system call. */
  message(index: number): Pointer {
    return this.#addresses.messages + index * k.mmsghdr.size as Pointer;
  }

  lengthOf(slot: number): number {
    return this.#iovecs.getUint32(slot * k.iovec.size + k.iovec.iov_len, true);
  }

  setLength(slot: number, bytes: number): void {
    this.#iovecs.setUint32(slot * k.iovec.size + k.iovec.iov_len, bytes, true);
  }

  /** The destination of the packet in this slot. */
  setDestination(slot: number, address: number, port: number): void {
    const name = slot * k.sockaddr_in.size;
    this.#names.setUint16(name + k.sockaddr_in.sin_port, port);
    this.#names.setUint32(name + k.sockaddr_in.sin_addr, address);
  }

  destinationOf(slot: number): number {
    return this.#names.getUint32(slot * k.sockaddr_in.size + k.sockaddr_in.sin_addr);
  }

  /**
   * Builds a message from the packets in `count` slots from `first` on, to the destination of the
   * first. The kernel sends each as a datagram (UDP_SEGMENT): all have the size of the first one,
   * only the last may be smaller.
   */
  setMessage(index: number, first: number, count: number): void {
    this.#pointTo(index, first, count);
    const message = index * k.mmsghdr.size;
    const name = this.#addresses.names + first * k.sockaddr_in.size;
    writeAddress(this.#messages, message + k.msghdr.msg_name, name);
    this.#messages.setUint32(message + k.msghdr.msg_namelen, k.sockaddr_in.size, true);
    const isSegmented = count > 1;
    const control = index * CONTROL_BYTES;
    const controlAddress = isSegmented ? this.#addresses.controls + control : 0;
    writeAddress(this.#messages, message + k.msghdr.msg_control, controlAddress);
    const controlBytes = isSegmented ? CONTROL_BYTES : 0;
    this.#messages.setUint32(message + k.msghdr.msg_controllen, controlBytes, true);
    this.#controls.setUint16(control + k.cmsghdr.size, this.lengthOf(first), true);
  }

  /** The number of packets in a message. */
  packetsOf(index: number): number {
    return this.#messages.getUint32(index * k.mmsghdr.size + k.msghdr.msg_iovlen, true);
  }

  /** The number of received bytes; every datagram fits. */
  received(index: number): number {
    return this.#messages.getUint32(index * k.mmsghdr.size + k.mmsghdr.msg_len, true);
  }

  #pointTo(index: number, first: number, count: number): void {
    const message = index * k.mmsghdr.size;
    const iovec = this.#addresses.iovecs + first * k.iovec.size;
    writeAddress(this.#messages, message + k.msghdr.msg_iov, iovec);
    this.#messages.setUint32(message + k.msghdr.msg_iovlen, count, true);
  }
}

/** CMSG_SPACE(sizeof(uint16_t)). */
const CONTROL_BYTES = k.cmsghdr.size + 8;

function blank(bytes: number): DataView<ArrayBuffer> {
  return new DataView(new ArrayBuffer(bytes));
}

function addressIn(view: DataView<ArrayBuffer>): number {
  return addressOf(new Uint8Array(view.buffer));
}

/** A 64-bit address, little-endian, without allocating a bigint. */
function writeAddress(view: DataView, at: number, address: number): void {
  view.setUint32(at, address >>> 0, true);
  view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
}
