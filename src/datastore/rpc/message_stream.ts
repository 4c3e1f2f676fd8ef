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
import {
  frame,
  type FrameHeader,
  MessageFrames,
  PREFIX_BYTES,
} from "../../etcd/api/message_frames.ts";
import { MAX_REQUEST_BYTES } from "../mvcc/key_writes.ts";

/** Includes the half megabyte by which etcd allows a message to exceed that. */
export const MAX_REQUEST_MESSAGE_BYTES = MAX_REQUEST_BYTES + (512 << 10);

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
  const frames = new MessageFrames(assertAcceptable);
  for await (const chunk of body) {
    frames.add(chunk);
    for (let message = frames.message(); message !== undefined; message = frames.message()) {
      arrival?.waiting(0);
      yield new Uint8Array(message);
    }
    if (frames.size > 0) arrival?.waiting(frames.size);
  }
  if (frames.size > 0) throw new ConnectError("incomplete message", Code.InvalidArgument);
}

function assertAcceptable({ isCompressed, length }: FrameHeader): void {
  if (isCompressed) {
    throw new ConnectError(
      "flanneld datastore does not support compressed messages",
      Code.Unimplemented,
    );
  }
  if (length <= MAX_REQUEST_MESSAGE_BYTES) return;
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
