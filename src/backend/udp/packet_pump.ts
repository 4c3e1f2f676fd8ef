/** Moves packets between a TUN device and a UDP socket, many at a time. */

import { errno, libc } from "../../../ffi/libc.ts";
import { MSG_DONTWAIT } from "../../../ffi/linux.ts";
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
  /** Tells the sender of the packet at `at` why it was dropped. */
  readonly complain: (
    packet: { readonly view: DataView; readonly at: number },
    why: { readonly type: number; readonly code: number },
  ) => void;
  /** A packet could not be sent to a peer's public address, a number in host byte order. */
  readonly onUnsent: (why: { readonly errno: number; readonly destination: number }) => void;
}

/** The descriptors that packets come from and go to, where those are, and the settings of the moment. */
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
  readonly #nowMs: () => number;
  /** From when on the kernel may be asked to cut one message into datagrams (UDP_SEGMENT, udp(7)). */
  #trainsFromMs = -Infinity;

  constructor(options: PumpOptions, nowMs: () => number = () => performance.now()) {
    this.#options = options;
    this.#nowMs = nowMs;
  }

  /** Takes what the device has to send, up to a number of packets. Whether there was anything. */
  sendFromDevice({ tunFd, socketFd, port }: PumpEnds): boolean {
    const { read } = libc();
    let kept = 0;
    let taken = 0;
    // A slot whose packet goes no further is used again.
    for (; kept < SLOTS && taken < 2 * SLOTS; taken++) {
      const length = Number(read(tunFd, this.#outgoing.packet(kept), SLOT_BYTES));
      if (length < 0) break;
      if (this.#prepare(kept, length, port)) kept++;
    }
    if (kept > 0) this.#send(socketFd, kept);
    return taken > 0;
  }

  /** Gives the device what has been received, up to a number of packets. Whether there was anything. */
  receiveToDevice({ tunFd, socketFd, network }: PumpEnds): boolean {
    const { recvmmsg, write } = libc();
    const slots = this.#incoming;
    const count = recvmmsg(socketFd, slots.message(0), SLOTS, MSG_DONTWAIT, null);
    const mask = maskOf(network.length);
    for (let slot = 0; slot < count; slot++) {
      const at = slot * SLOT_DISTANCE;
      const length = slots.received(slot);
      const verdict = forwardingVerdict(slots.view, at, length);
      // Nobody uses this node to reach what is outside.
      const isInside = verdict !== "drop" &&
        ((destinationOf(slots.view, at) ^ network.address) & mask) === 0;
      if (!isInside) continue;
      if (verdict === "expired") {
        this.#options.complain({ view: slots.view, at }, TIME_EXCEEDED);
        continue;
      }
      decrementTtl(slots.view, at);
      write(tunFd, slots.packet(slot), length); // a device that is down refuses: then it is lost
    }
    return count > 0;
  }

  /** Whether the packet in the slot is to be sent; its destination is set then. */
  #prepare(slot: number, length: number, port: number): boolean {
    const { hops, complain } = this.#options;
    const { view } = this.#outgoing;
    const at = slot * SLOT_DISTANCE;
    const verdict = forwardingVerdict(view, at, length);
    if (verdict === "drop") return false; // IPv6, for example: the kernel asks for routers
    const hop = hops.find(destinationOf(view, at));
    if (hop === NO_HOP || verdict === "expired") {
      complain({ view, at }, hop === NO_HOP ? NETWORK_UNREACHABLE : TIME_EXCEEDED);
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
    let trains = this.#nowMs() >= this.#trainsFromMs;
    while (sent < count) {
      const messages = this.#arrange(sent, count, trains);
      const done = sendmmsg(socketFd, this.#outgoing.message(0), messages, 0);
      for (let index = 0; index < done; index++) sent += this.#outgoing.packetsOf(index);
      if (done > 0) continue;
      const reason = errno();
      if (this.#outgoing.packetsOf(0) > 1) {
        // What refuses a train may take its packets one by one. Sent so, they tell of the reason.
        trains = false;
        // For any peer (before Linux 4.18), or for one whose path has a smaller MTU.
        if (reason === EINVAL || reason === EIO) this.#trainsFromMs = this.#nowMs() + NO_TRAINS_MS;
      } else {
        const destination = this.#outgoing.destinationOf(sent);
        this.#options.onUnsent({ errno: reason, destination });
        sent++;
      }
    }
  }

  /** Makes messages of the packets from one slot up to another; how many messages. */
  #arrange(from: number, to: number, trains: boolean): number {
    const slots = this.#outgoing;
    let messages = 0;
    for (let first = from; first < to; messages++) {
      const size = slots.lengthOf(first);
      const hop = slots.destinationOf(first);
      let total = size;
      let next = first + 1;
      while (trains && next < to && slots.destinationOf(next) === hop) {
        const length = slots.lengthOf(next);
        total += length;
        if (length > size || total > MAX_TRAIN_BYTES) break;
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
const MAX_TRAIN_BYTES = 65535 - 20 - 8;
/** One refusal in this time costs nothing; without trains, one peer's small path slows down all. */
const NO_TRAINS_MS = 10_000;
const EIO = 5; // asm-generic/errno-base.h
const EINVAL = 22; // asm-generic/errno-base.h
