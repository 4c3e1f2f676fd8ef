/** A netlink socket, and the batch in which messages to it are gathered. */

import type { MessageBatch } from "./message_batch.ts";
import type { MessageReader } from "./message_reader.ts";
import type { NetlinkRefusal, NetlinkSocket } from "./netlink_socket.ts";

/** Channels may share a socket: an exchange is complete when its method returns. */
export class Channel<Encoder extends MessageBatch> {
  readonly encoder: Encoder;
  readonly #socket: NetlinkSocket;

  constructor(socket: NetlinkSocket, encoder: Encoder) {
    this.#socket = socket;
    this.encoder = encoder;
  }

  /** Sends the gathered messages; returns the refusals by position. */
  send(): Map<number, NetlinkRefusal> {
    const { count } = this.encoder;
    if (count === 0) return new Map();
    const first = this.#socket.reserve(count);
    this.encoder.number(first);
    this.encoder.acknowledgeLast();
    try {
      return this.#socket.exchange(this.encoder, first, count);
    } finally {
      this.encoder.clear();
    }
  }

  /** Sends one request, instead of the gathered messages, and reads its one reply. */
  get(
    encode: (encoder: Encoder) => void,
    read: (reply: MessageReader) => void,
  ): NetlinkRefusal | undefined {
    return this.#request(encode, (sequence) => this.#socket.get(this.encoder, sequence, read));
  }

  /**
   * Sends one dump request, instead of the gathered messages. If the result is "interrupted", the
   * table changed during the dump, and what was read is useless. Throws `KernelError` if refused.
   */
  readTable(
    encode: (encoder: Encoder) => void,
    read: (message: MessageReader) => void,
  ): "complete" | "interrupted" {
    // Without NLM_F_ACK: NLMSG_DONE ends a dump, and an acknowledgement would follow it.
    return this.#request(encode, (sequence) => this.#socket.dump(this.encoder, sequence, read));
  }

  #request<T>(encode: (encoder: Encoder) => void, exchange: (sequence: number) => T): T {
    this.encoder.clear();
    try {
      encode(this.encoder);
      const sequence = this.#socket.reserve(1);
      this.encoder.number(sequence);
      return exchange(sequence);
    } finally {
      this.encoder.clear();
    }
  }
}
