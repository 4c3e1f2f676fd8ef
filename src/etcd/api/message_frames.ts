/**
 * gRPC's framing of messages: before each one a flag for compression, and its length in four bytes
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 */

export const PREFIX_BYTES = 5;

/** A message with its prefix, as it is sent. */
export function frame(message: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  bytes[0] = 0;
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, PREFIX_BYTES);
  return bytes;
}

/** What the prefix of a message says. */
export interface FrameHeader {
  readonly isCompressed: boolean;
  readonly length: number;
}

/** Takes chunks of a stream and returns the messages, each joined only once. */
export class MessageFrames {
  /** Bytes that were received and not returned yet. */
  size = 0;
  #chunks: Uint8Array[] = [];
  /** Bytes needed for the next step: the prefix, then the prefix and the message. */
  #needed = PREFIX_BYTES;
  readonly #check: (header: FrameHeader) => void;

  /** `check` throws for a message that is not acceptable, before its bytes are collected. */
  constructor(check: (header: FrameHeader) => void) {
    this.#check = check;
  }

  add(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.size += chunk.length;
  }

  /**
   * The next message, in the memory of the chunks; `undefined` until it is complete. Throws what
   * `check` throws.
   */
  message(): Uint8Array | undefined {
    if (this.size < this.#needed) return undefined;
    const bytes = this.#chunks.length === 1 && this.#chunks[0]
      ? Buffer.from(this.#chunks[0].buffer, this.#chunks[0].byteOffset, this.size)
      : Buffer.concat(this.#chunks);
    if (this.#needed === PREFIX_BYTES) {
      const length = bytes.readUInt32BE(1);
      this.#check({ isCompressed: bytes[0] !== 0, length });
      this.#needed += length;
    }
    const isComplete = bytes.length >= this.#needed;
    const rest = isComplete ? bytes.subarray(this.#needed) : bytes;
    const message = isComplete ? bytes.subarray(PREFIX_BYTES, this.#needed) : undefined;
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.size = rest.length;
    if (isComplete) this.#needed = PREFIX_BYTES;
    return message;
  }
}
