/** Moves packets between a TUN device and a UDP socket, in batches. */

import { errno, libc } from "../../../ffi/libc.ts";
import { MSG_DONTWAIT } from "../../../ffi/linux.ts";
import type { Clock } from "../../base/clock.ts";
import {
  decrementTtl,
  destinationOf,
  forwardingVerdict,
  NETWORK_UNREACHABLE,
  TIME_EXCEEDED,
} from "./ip_packet.ts";
import { maskOf, type NextHops, NO_HOP, type Subnet } from "./next_hops.ts";
import { PacketSlots, SLOT_BYTES, SLOT_DISTANCE, SLOTS } from "./packet_slots.ts";

export interface PumpOptions {
  readonly hops: NextHops;
  readonly clock: Pick<Clock, "nowMs">;
  /** The packet at `at` is dropped; its sender gets this ICMP error. */
  readonly onRejected: (
    packet: { readonly view: DataView; readonly at: number },
    why: { readonly type: number; readonly code: number },
  ) => void;
  /** A packet cannot be sent to a peer's public address, a number in host byte order. */
  readonly onUnsent: (why: { readonly errno: number; readonly destination: number }) => void;
}

/** Both ends of the pump, which have to be open, and their current settings. */
export interface PumpEnds {
  readonly tunFd: number;
  readonly socketFd: number;
  readonly port: number;
  readonly network: Subnet;
}

export class PacketPump {
  readonly #options: PumpOptions;
  readonly #outgoing = new PacketSlots();
  readonly #incoming = new PacketSlots();
  /** When to use GSO again: the kernel splits one message into datagrams (UDP_SEGMENT, udp(7)). */
  #gsoFromMs = -Infinity;

  constructor(options: PumpOptions) {
    this.#options = options;
  }

  /** Sends a batch of packets from the device. Returns whether there were any. */
  sendFromDevice({ tunFd, socketFd, port }: PumpEnds): boolean {
    const { read } = libc();
    let kept = 0;
    let taken = 0;
    // The slot of a dropped packet is used for the next one.
    for (; kept < SLOTS && taken < 2 * SLOTS; taken++) {
      const length = Number(read(tunFd, this.#outgoing.packet(kept), SLOT_BYTES));
      if (length < 0) break;
      if (this.#prepare(kept, length, port)) kept++;
    }
    if (kept > 0) this.#send(socketFd, kept);
    return taken > 0;
  }

  /** Writes a batch of received packets to the device. Returns whether there were any. */
  receiveToDevice({ tunFd, socketFd, network }: PumpEnds): boolean {
    const { recvmmsg, write } = libc();
    const slots = this.#incoming;
    const count = recvmmsg(socketFd, slots.message(0), SLOTS, MSG_DONTWAIT, null);
    const mask = maskOf(network.length);
    for (let slot = 0; slot < count; slot++) {
      const at = slot * SLOT_DISTANCE;
      const length = slots.received(slot);
      const verdict = forwardingVerdict(slots.view, at, length);
      // A peer may not use this node as a router to other networks.
      const isInside = verdict !== "drop" &&
        ((destinationOf(slots.view, at) ^ network.address) & mask) === 0;
      if (!isInside) continue;
      if (verdict === "expired") {
        this.#options.onRejected({ view: slots.view, at }, TIME_EXCEEDED);
        continue;
      }
      decrementTtl(slots.view, at);
      write(tunFd, slots.packet(slot), length); // lost while the device is down
    }
    return count > 0;
  }

  /** Returns whether to send the packet in the slot, after setting its destination. */
  #prepare(slot: number, length: number, port: number): boolean {
    const { hops, onRejected } = this.#options;
    const { view } = this.#outgoing;
    const at = slot * SLOT_DISTANCE;
    const verdict = forwardingVerdict(view, at, length);
    if (verdict === "drop") return false; // for example the kernel's IPv6 router solicitations
    const hop = hops.find(destinationOf(view, at));
    if (hop === NO_HOP || verdict === "expired") {
      onRejected({ view, at }, hop === NO_HOP ? NETWORK_UNREACHABLE : TIME_EXCEEDED);
      return false;
    }
    decrementTtl(view, at);
    this.#outgoing.setLength(slot, length);
    this.#outgoing.setDestination(slot, hop, port);
    return true;
  }

  #send(socketFd: number, count: number): void {
    const { sendmmsg } = libc();
    let sent = 0;
    let maxSegments = this.#options.clock.nowMs() >= this.#gsoFromMs ? SLOTS : 1;
    while (sent < count) {
      const messages = this.#arrange(sent, count, maxSegments);
      const done = sendmmsg(socketFd, this.#outgoing.message(0), messages, 0);
      for (let index = 0; index < done; index++) sent += this.#outgoing.packetsOf(index);
      if (done > 0) continue;
      const reason = errno();
      if (this.#outgoing.packetsOf(0) > 1) {
        // Without GSO the packets may pass one by one; if not, each one has its own error.
        maxSegments = 1;
        // For all peers (before Linux 4.18), or for one whose path has a smaller MTU.
        if (reason === EINVAL || reason === EIO) {
          this.#gsoFromMs = this.#options.clock.nowMs() + GSO_RETRY_MS;
        }
      } else {
        const destination = this.#outgoing.destinationOf(sent);
        this.#options.onUnsent({ errno: reason, destination });
        sent++;
      }
    }
  }

  /**
   * Builds messages from the packets in the slots `from` to `to` (exclusive), each of at most
   * `maxSegments` packets. Returns the number of messages.
   */
  #arrange(from: number, to: number, maxSegments: number): number {
    const slots = this.#outgoing;
    let messages = 0;
    for (let first = from; first < to; messages++) {
      const size = slots.lengthOf(first);
      const hop = slots.destinationOf(first);
      let total = size;
      let next = first + 1;
      const end = Math.min(to, first + maxSegments);
      while (next < end && slots.destinationOf(next) === hop) {
        const length = slots.lengthOf(next);
        total += length;
        if (length > size || total > MAX_GSO_BYTES) break;
        next++;
        if (length < size) break;
      }
      slots.setMessage(messages, first, next - first);
      first = next;
    }
    return messages;
  }
}

/** The largest UDP payload (RFC 768 in RFC 791). */
const MAX_GSO_BYTES = 65535 - 20 - 8;
/**
 * Short, because one peer's small path MTU slows down all peers without GSO; a retry costs nothing.
 */
const GSO_RETRY_MS = 10_000;
const EIO = 5; // asm-generic/errno-base.h
const EINVAL = 22; // asm-generic/errno-base.h
