/** A netlink socket together with the encoder that gathers what is sent over it. */

import type { MessageBatch } from "./message_batch.ts";
import type { MessageReader } from "./message_reader.ts";
import type { NetlinkRefusal, NetlinkSocket } from "./netlink_socket.ts";

/** Several channels may share a socket: each exchange is over when its method returns. */
export class Channel<Encoder extends MessageBatch> {
  readonly encoder: Encoder;
  readonly #socket: NetlinkSocket;

  constructor(socket: NetlinkSocket, encoder: Encoder) {
    this.#socket = socket;
    this.encoder = encoder;
  }

  /** Sends the gathered changes and gives those that were refused, by position. */
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

  /** One request that has one reply, in place of what is gathered; gives the refusal. */
  get(
    encode: (encoder: Encoder) => void,
    read: (reply: MessageReader) => void,
  ): NetlinkRefusal | undefined {
    return this.#request(encode, (sequence) => this.#socket.get(this.encoder, sequence, read));
  }

  /**
   * One request for a table, in place of what is gathered; the answer is whether the table stood
   * still meanwhile. Throws `KernelError` if it is refused.
   */
  readTable(
    encode: (encoder: Encoder) => void,
    read: (message: MessageReader) => void,
  ): "complete" | "interrupted" {
    // A dump is ended by NLMSG_DONE; an acknowledgement would be one message too many.
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
