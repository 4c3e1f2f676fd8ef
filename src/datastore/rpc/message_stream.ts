/**
 * The messages of one gRPC call, directly on HTTP/2
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 *
 * Connect passes each message of a response through a chain of generators. When one change is sent
 * to a thousand streams, that would cost more than everything else.
 */

import { Code, ConnectError } from "@connectrpc/connect";
import { constants, type Http2ServerResponse } from "node:http2";
import type { Clock } from "../../base/clock.ts";
import { MAX_REQUEST_BYTES } from "../mvcc/key_writes.ts";

/** Includes the half megabyte by which etcd allows a message to exceed that. */
export const MAX_REQUEST_MESSAGE_BYTES = MAX_REQUEST_BYTES + (512 << 10);
/** Before each message: a flag for compression, and the length in four bytes. */
const PREFIX_BYTES = 5;

/** Observes the arrival of messages. */
export interface Arrival {
  /** The number of bytes of an incomplete message; 0 when a message is complete. May throw. */
  waiting(bytes: number): void;
}

/**
 * The messages of a request's body, each in its own memory. Throws `ConnectError` for a message
 * that is compressed, too large or incomplete.
 */
export async function* readMessages(
  body: AsyncIterable<Uint8Array>,
  arrival?: Arrival,
): AsyncGenerator<Uint8Array> {
  const pieces = new Pieces();
  for await (const chunk of body) {
    pieces.add(chunk);
    for (let message = pieces.message(); message !== undefined; message = pieces.message()) {
      arrival?.waiting(0);
      yield message;
    }
    if (pieces.size > 0) arrival?.waiting(pieces.size);
  }
  if (pieces.size > 0) throw new ConnectError("incomplete message", Code.InvalidArgument);
}

/** The chunks of a message, joined when it is complete. */
class Pieces {
  #chunks: Uint8Array[] = [];
  size = 0;
  /** Bytes needed for the next step: the prefix, then the prefix and the message. */
  #needed = PREFIX_BYTES;

  add(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.size += chunk.length;
  }

  /** The next message; `undefined` until it is complete. */
  message(): Uint8Array | undefined {
    if (this.size < this.#needed) return undefined;
    const bytes = this.#chunks.length === 1 && this.#chunks[0]
      ? Buffer.from(this.#chunks[0].buffer, this.#chunks[0].byteOffset, this.size)
      : Buffer.concat(this.#chunks);
    const end = messageEnd(bytes);
    this.#needed = end;
    const rest = end <= bytes.length ? bytes.subarray(end) : bytes;
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.size = rest.length;
    if (end > bytes.length) return undefined;
    this.#needed = PREFIX_BYTES;
    return new Uint8Array(bytes.subarray(PREFIX_BYTES, end));
  }
}

/** Where the first message ends, possibly beyond the received bytes. */
function messageEnd(bytes: Buffer): number {
  if (bytes.length < PREFIX_BYTES) return Infinity;
  if (bytes[0] !== 0) {
    throw new ConnectError(
      "flanneld datastore does not support compressed messages",
      Code.Unimplemented,
    );
  }
  const length = bytes.readUInt32BE(1);
  if (length <= MAX_REQUEST_MESSAGE_BYTES) return PREFIX_BYTES + length;
  throw new ConnectError(
    `message of ${length} bytes is too large; the limit is ${MAX_REQUEST_MESSAGE_BYTES}`,
    Code.ResourceExhausted,
  );
}

/**
 * A message in parts, framed for the wire, in small pieces: the runtime copies what exceeds the
 * client's flow-control window.
 */
export function* frameOf(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  const [only] = parts;
  if (parts.length === 1 && only && only.length <= PIECE_BYTES) return yield frame(only);
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(parts.reduce((sum, { length }) => sum + length, 0), 1);
  yield prefix;
  for (const part of parts) {
    for (let start = 0; start < part.length; start += PIECE_BYTES) {
      yield part.subarray(start, start + PIECE_BYTES);
    }
  }
}

const PIECE_BYTES = 128 << 10;

/** A message with its prefix, as it is sent. */
export function frame(message: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  bytes[0] = 0;
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, PREFIX_BYTES);
  return bytes;
}

/** The response of a call: any number of messages, then a status. */
export class MessageWriter {
  /** The client's address. */
  readonly peer: string;
  readonly #response: Http2ServerResponse;
  readonly #stallMs: number;
  readonly #clock: Clock;
  #isClosed = false;

  /** The stream of a client that reads nothing for `stallMs` is closed, to free the memory. */
  constructor(
    response: Http2ServerResponse,
    { stallMs, clock }: { readonly stallMs: number; readonly clock: Clock },
  ) {
    this.#response = response;
    this.#clock = clock;
    this.peer = response.stream.session?.socket.remoteAddress ?? "";
    this.#stallMs = stallMs;
    response.once("close", () => this.#isClosed = true);
    response.writeHead(200, { "content-type": "application/grpc" });
  }

  /**
   * Sends a frame. For a slow client, the promise resolves when it has caught up or disconnected.
   * Frames to a client that has disconnected are dropped.
   */
  send(frame: Uint8Array): Promise<void> | undefined {
    const response = this.#response;
    if (this.#isClosed || response.write(frame)) return undefined;
    return new Promise((resolve) => {
      const go = () => {
        response.off("drain", go);
        response.off("close", go);
        stalled[Symbol.dispose]();
        resolve();
      };
      const stalled = this.#clock.setTimer(this.#stallMs, () => {
        this.#isClosed = true;
        response.stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
        go();
      });
      response.on("drain", go);
      response.on("close", go);
    });
  }

  /** The client has disconnected, or the stream was closed because it stalled. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** As `send`, for a message in parts. */
  async sendAll(parts: readonly Uint8Array[]): Promise<void> {
    for (const piece of frameOf(parts)) {
      const slow = this.send(piece);
      if (slow !== undefined) await slow;
    }
  }

  /** Calls back when the client has disconnected. */
  onClose(callback: () => void): void {
    this.#response.once("close", callback);
  }

  /** Ends the call, with an error if it has failed. */
  end(failure?: ConnectError): void {
    if (this.#isClosed) return;
    this.#response.addTrailers({
      "grpc-status": String(failure?.code ?? 0),
      ...(failure && { "grpc-message": encodeURIComponent(failure.rawMessage) }),
    });
    this.#response.end();
  }
}
