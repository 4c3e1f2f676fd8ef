/** What is gathered in a batch, sent over a socket, with its answers. */

import type { MessageBatch } from "./message_batch.ts";
import type { MessageReader } from "./reader.ts";
import type { NetlinkSocket, Refusal } from "./socket.ts";

/** Sends the gathered changes and gives those that were refused, by position. */
export function sendBatch(socket: NetlinkSocket, batch: MessageBatch): Map<number, Refusal> {
  const count = batch.count;
  if (count === 0) return new Map();
  const first = socket.reserve(count);
  batch.number(first);
  batch.acknowledgeLast();
  const refusals = socket.exchange(batch, first, count);
  batch.clear();
  return refusals;
}

/** One request that has one reply; gives the refusal. */
export function request<Batch extends MessageBatch>(
  socket: NetlinkSocket,
  encoder: Batch,
  encode: (encoder: Batch) => void,
  read: (reply: MessageReader) => void,
): Refusal | undefined {
  encoder.clear();
  encode(encoder);
  const sequence = socket.reserve(1);
  encoder.number(sequence);
  const refusal = socket.get(encoder, sequence, read);
  encoder.clear();
  return refusal;
}

/**
 * One request for a table; the answer is whether the table stood still meanwhile. Throws
 * `KernelError` if it is refused.
 */
export function readTable<Batch extends MessageBatch>(
  socket: NetlinkSocket,
  encoder: Batch,
  encode: (encoder: Batch) => void,
  read: (message: MessageReader) => void,
): "complete" | "interrupted" {
  encoder.clear();
  encode(encoder);
  const sequence = socket.reserve(1);
  // A dump is ended by NLMSG_DONE; an acknowledgement would be one message too many.
  encoder.number(sequence);
  try {
    return socket.dump(encoder, sequence, read);
  } finally {
    encoder.clear();
  }
}
