/**
 * The messages of one gRPC call, straight on HTTP/2
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
 *
 * Connect passes each message of an answer through a chain of generators, which costs more than all
 * the rest when one change is told to a thousand streams.
 */

import { Code, ConnectError } from "@connectrpc/connect";
import type { Http2ServerResponse } from "node:http2";
import { MAX_REQUEST_BYTES } from "../key_writes.ts";

/** With the half megabyte that etcd allows a message on top. */
export const MAX_MESSAGE_BYTES = MAX_REQUEST_BYTES + (512 << 10);
/** Before each message: a flag for compression, and the length in four bytes. */
const PREFIX_BYTES = 5;

/**
 * The messages of a request's body, each in memory of its own. Throws `ConnectError` for one that is
 * compressed, too large, or cut off.
 */
export async function* readMessages(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let rest = Buffer.alloc(0);
  for await (const chunk of body) {
    rest = Buffer.concat([rest, chunk]);
    for (let end = messageEnd(rest); end <= rest.length; end = messageEnd(rest)) {
      yield new Uint8Array(rest.subarray(PREFIX_BYTES, end));
      rest = rest.subarray(end);
    }
  }
  if (rest.length > 0) throw new ConnectError("a message is cut off", Code.InvalidArgument);
}

/** Where the first message ends, which may be beyond what there is. */
function messageEnd(bytes: Buffer): number {
  if (bytes.length < PREFIX_BYTES) return Infinity;
  if (bytes[0] !== 0) {
    throw new ConnectError("flanneld datastore takes no compressed messages", Code.Unimplemented);
  }
  const length = bytes.readUInt32BE(1);
  if (length <= MAX_MESSAGE_BYTES) return PREFIX_BYTES + length;
  throw new ConnectError(
    `a message has ${length} bytes, and ${MAX_MESSAGE_BYTES} are allowed`,
    Code.ResourceExhausted,
  );
}

/** A message as it goes over the wire. */
export function frame(message: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  bytes[0] = 0;
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, PREFIX_BYTES);
  return bytes;
}

/** The answer of a call: any number of messages, and in the end how it went. */
export class MessageWriter {
  readonly #response: Http2ServerResponse;

  constructor(response: Http2ServerResponse) {
    this.#response = response;
    response.writeHead(200, { "content-type": "application/grpc" });
  }

  /** Sends a frame. To a client that reads slowly it takes until that has caught up, or is gone. */
  send(frame: Uint8Array): Promise<void> | undefined {
    const response = this.#response;
    if (response.write(frame)) return undefined;
    return new Promise((resolve) => {
      const go = () => {
        response.off("drain", go);
        response.off("close", go);
        resolve();
      };
      response.on("drain", go);
      response.on("close", go);
    });
  }

  /** Calls back when the client is gone. */
  onClose(callback: () => void): void {
    this.#response.once("close", callback);
  }

  /** Ends the call; with an error, if it has failed. */
  end(failure?: ConnectError): void {
    this.#response.addTrailers({
      "grpc-status": String(failure?.code ?? 0),
      ...(failure && { "grpc-message": encodeURIComponent(failure.rawMessage) }),
    });
    this.#response.end();
  }
}
