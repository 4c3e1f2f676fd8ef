/**
 * A netlink socket for requests (netlink(7)).
 *
 * The kernel processes a request during send(2): the response is queued when the call returns. So a
 * request and its response need no event loop. If a response is late, poll(2) waits for it, for a
 * limited time.
 */

import { errnoName } from "../../../ffi/errno.ts";
import { errno, libc } from "../../../ffi/libc.ts";
import * as k from "../../../ffi/linux.ts";
import { addressOf, fixedBuffer, type Pointer } from "../../../ffi/memory.ts";
import { KernelError } from "./kernel_error.ts";
import { Attributes, MessageReader } from "./message_reader.ts";

/** Bytes to send: one or more messages. */
export interface Outgoing {
  readonly address: Pointer;
  readonly length: number;
}

/** The kernel's refusal of one message. */
export interface NetlinkRefusal {
  readonly errno: number;
  /** NLMSGERR_ATTR_MSG: the reason as text, if the kernel gives one. */
  readonly extack?: string;
}

export class NetlinkSocket implements Disposable {
  #fd: number;
  /**
   * The address of this socket (netlink(7), nl_pid), also in notifications that its requests cause.
   */
  readonly portId: number;
  #sequence = 0;
  readonly #buffer = new Uint8Array(RECEIVE_BYTES);
  readonly #bufferAddress: Pointer = addressOf(this.#buffer);
  readonly #reader = new MessageReader(this.#buffer);

  /** `protocol` is one of NETLINK_*. */
  constructor(protocol: number = k.NETLINK_ROUTE) {
    this.#fd = openNetlinkSocket(protocol);
    setOption(this.#fd, k.SOL_SOCKET, k.SO_RCVBUF, RESPONSES_BYTES);
    // Older kernels lack some of these; then errors have no text, and dumps are not filtered.
    setOption(this.#fd, k.SOL_NETLINK, k.NETLINK_CAP_ACK, 1);
    setOption(this.#fd, k.SOL_NETLINK, k.NETLINK_EXT_ACK, 1);
    setOption(this.#fd, k.SOL_NETLINK, k.NETLINK_GET_STRICT_CHK, 1);
    this.portId = portIdOf(this.#fd);
  }

  /** Reserves the sequence numbers of `count` messages; returns the first. */
  reserve(count: number): number {
    if (this.#sequence + count > 0xffff_fff0) this.#sequence = 0;
    const first = this.#sequence + 1;
    this.#sequence += count;
    return first;
  }

  /**
   * Sends `count` messages numbered from `first`, of which the last requests an acknowledgement;
   * returns the refusals by position. A message without a refusal was performed. Throws
   * `KernelError` if there is no response.
   */
  exchange(
    batch: Outgoing,
    first: number,
    count: number,
  ): Map<number, NetlinkRefusal> {
    this.#send(batch);
    const refusals = new Map<number, NetlinkRefusal>();
    for (;;) {
      this.#receive();
      while (this.#reader.next()) {
        const position = this.#reader.sequence - first;
        if (this.#reader.type !== k.NLMSG_ERROR || position < 0 || position >= count) continue;
        const refusal = decodeError(this.#reader);
        if (refusal !== undefined) refusals.set(position, refusal);
        if (position === count - 1) return refusals;
      }
    }
  }

  /** Sends one request that has one reply; calls `read` with it, or returns the refusal. */
  get(
    request: Outgoing,
    sequence: number,
    read: (reply: MessageReader) => void,
  ): NetlinkRefusal | undefined {
    this.#send(request);
    for (;;) {
      this.#receive();
      while (this.#reader.next()) {
        if (this.#reader.sequence !== sequence) continue;
        if (this.#reader.type === k.NLMSG_ERROR) return decodeError(this.#reader);
        read(this.#reader);
        return undefined;
      }
    }
  }

  /**
   * Sends a dump request and calls `read` with each entry. If the result is "interrupted", the
   * table changed during the dump, and what was read is useless. Throws `KernelError` if refused.
   */
  dump(
    request: Outgoing,
    sequence: number,
    read: (entry: MessageReader) => void,
  ): "complete" | "interrupted" {
    this.#send(request);
    let interrupted = false;
    for (;;) {
      this.#receive();
      while (this.#reader.next()) {
        const message = this.#reader;
        if (message.sequence !== sequence) continue;
        if ((message.flags & k.NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type === k.NLMSG_ERROR || message.type === k.NLMSG_DONE) {
          const refusal = decodeError(message);
          if (refusal === undefined) return interrupted ? "interrupted" : "complete";
          throw new KernelError({
            operation: "read a kernel table",
            errno: refusal.errno,
            extack: refusal.extack,
          });
        }
        read(message);
      }
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) libc().close(this.#fd);
    this.#fd = -1;
  }

  #send({ address, length }: Outgoing): void {
    for (let tries = 0;; tries++) {
      if (Number(libc().send(this.#fd, address, length, 0)) === length) return;
      const error = errnoName(errno());
      if (error !== "EINTR" || tries > 100) {
        throw new KernelError({ operation: "send over netlink", errno: error });
      }
    }
  }

  /** Fills the buffer with the next datagram. */
  #receive(): void {
    for (let waits = 0;; waits++) {
      const length = Number(
        libc().recv(this.#fd, this.#bufferAddress, RECEIVE_BYTES, k.MSG_DONTWAIT | k.MSG_TRUNC),
      );
      if (length > RECEIVE_BYTES) {
        throw new KernelError({ operation: "receive over netlink", errno: "EMSGSIZE" });
      }
      if (length >= 0) return this.#reader.reset(length);
      const error = errnoName(errno());
      if (error === "EINTR") continue;
      if (error !== "EAGAIN") {
        throw new KernelError({ operation: "receive over netlink", errno: error });
      }
      // Counted, not measured: a wait that a signal cuts short counts in full.
      if (waits * POLL_MS >= RESPONSE_TIMEOUT_MS) {
        throw new KernelError({ operation: "receive over netlink", errno: "ETIMEDOUT" });
      }
      waitReadable(this.#fd, POLL_MS);
    }
  }
}

/**
 * Opens a non-blocking socket to the kernel in this thread's network namespace; `protocol` is one
 * of NETLINK_*. Throws `KernelError`.
 */
export function openNetlinkSocket(protocol: number): number {
  const fd = libc().socket(
    k.AF_NETLINK,
    k.SOCK_RAW | k.SOCK_CLOEXEC | k.SOCK_NONBLOCK,
    protocol,
  );
  if (fd < 0) throw new KernelError({ operation: "open a netlink socket", errno: errno() });
  try {
    connectToKernel(fd);
  } catch (error) {
    libc().close(fd);
    throw error;
  }
  return fd;
}

/** Makes the kernel the only sender that the socket accepts unicast messages from. */
export function connectToKernel(fd: number): void {
  const kernel = new Uint8Array(k.sockaddr_nl.size);
  new DataView(kernel.buffer).setUint16(k.sockaddr_nl.nl_family, k.AF_NETLINK, true);
  if (libc().connect(fd, addressOf(kernel), kernel.length) < 0) {
    throw new KernelError({ operation: "connect a netlink socket", errno: errno() });
  }
}

/** The port id that the kernel assigned to a connected socket. */
function portIdOf(fd: number): number {
  const address = new Uint8Array(k.sockaddr_nl.size);
  const length = new Uint8Array(Uint32Array.of(address.length).buffer);
  if (libc().getsockname(fd, addressOf(address), addressOf(length)) < 0) {
    throw new KernelError({ operation: "read the address of a netlink socket", errno: errno() });
  }
  return new DataView(address.buffer).getUint32(k.sockaddr_nl.nl_pid, true);
}

/** Sets an integer socket option; false if the kernel refuses. */
export function setOption(fd: number, level: number, option: number, value: number): boolean {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return libc().setsockopt(fd, level, option, addressOf(bytes), bytes.length) === 0;
}

/** The kernel sends dumps in datagrams of at most 32 KiB (net/netlink/af_netlink.c). */
const RECEIVE_BYTES = 64 * 1024;
/** Room for the refusals of a whole batch, each with the kernel's overhead. */
const RESPONSES_BYTES = 1024 * 1024;
const RESPONSE_TIMEOUT_MS = 2000;
const POLL_MS = 50;

const errorAttributes = new Attributes();

/** Of NLMSG_ERROR, or the error in NLMSG_DONE; `undefined` for an acknowledgement. */
function decodeError(message: MessageReader): NetlinkRefusal | undefined {
  const { view, start, end, flags } = message;
  if (end - start < 4) return undefined;
  const number = -view.getInt32(start + k.nlmsgerr.error, true);
  if (number <= 0) return undefined;
  if ((flags & k.NLM_F_ACK_TLVS) === 0) return { errno: number };
  let attributesAt = start + 4;
  if (message.type === k.NLMSG_ERROR) {
    if (end - start < k.nlmsgerr.size) return { errno: number };
    const requestBytes = view.getUint32(start + k.nlmsgerr.msg + k.nlmsghdr.nlmsg_len, true);
    const capped = (flags & k.NLM_F_CAPPED) !== 0;
    attributesAt = start + (capped ? k.nlmsgerr.size : k.nlmsgerr.msg + ((requestBytes + 3) & ~3));
  }
  const extack = errorAttributes.read(message, attributesAt, end).text(k.NLMSGERR_ATTR_MSG);
  return extack ? { errno: number, extack } : { errno: number };
}

/** Waits up to `timeoutMs` for a message or an error. False if the socket certainly has neither. */
export function waitReadable(fd: number, timeoutMs: number): boolean {
  pollView.setInt32(k.pollfd.fd, fd, true);
  pollView.setInt16(k.pollfd.events, k.POLLIN, true);
  return libc().poll(pollAddress, 1, timeoutMs) !== 0;
}

const pollRequest = fixedBuffer(k.pollfd.size);
const pollView = new DataView(pollRequest.buffer, pollRequest.byteOffset);
const pollAddress: Pointer = addressOf(pollRequest);
