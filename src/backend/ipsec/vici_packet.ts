/**
 * Packets of VICI on a stream: a length, a type, a name for some types, and a message.
 *
 * "Transport protocol" and "Packet layer" in strongSwan's src/libcharon/plugins/vici/README.md.
 */

import { decodeMessage, encodeMessage, ViciFormatError, type ViciMessage } from "./vici_message.ts";

/** Packet types. */
export const CMD_REQUEST = 0;
export const CMD_RESPONSE = 1;
export const CMD_UNKNOWN = 2;
export const EVENT_REGISTER = 3;
export const EVENT_UNREGISTER = 4;
export const EVENT_CONFIRM = 5;
export const EVENT = 7;

export interface ViciPacket {
  readonly type: number;
  /** Command or event; empty for the types that have none. */
  readonly name: string;
  readonly message: ViciMessage;
}

/** Throws `ViciFormatError` for a packet that is too long. */
export function encodePacket(type: number, name: string, message: ViciMessage = {}): Uint8Array {
  const nameBytes = new TextEncoder().encode(name);
  const messageBytes = encodeMessage(message);
  const length = 2 + nameBytes.length + messageBytes.length;
  if (nameBytes.length > 0xff || length > MAX_BYTES) {
    throw new ViciFormatError(`a packet of ${length} bytes is longer than ${MAX_BYTES}`);
  }
  const packet = new Uint8Array(LENGTH_BYTES + length);
  new DataView(packet.buffer).setUint32(0, length);
  packet.set([type, nameBytes.length], LENGTH_BYTES);
  packet.set(nameBytes, LENGTH_BYTES + 2);
  packet.set(messageBytes, LENGTH_BYTES + 2 + nameBytes.length);
  return packet;
}

/** Splits a stream into packets. After an error it cannot be used any more. */
export class PacketReader {
  /** The received bytes that are not a whole packet yet. */
  #chunks: Uint8Array[] = [];
  #bytes = 0;

  /** Returns the packets that these bytes complete. Throws `ViciFormatError`. */
  push(bytes: Uint8Array): ViciPacket[] {
    this.#chunks.push(bytes.slice());
    this.#bytes += bytes.length;
    const packets: ViciPacket[] = [];
    for (let packet = this.#next(); packet !== undefined; packet = this.#next()) {
      packets.push(decodePacket(packet));
    }
    return packets;
  }

  /** The next packet; `undefined` until all its bytes have been received. */
  #next(): Uint8Array | undefined {
    if (this.#bytes < LENGTH_BYTES) return undefined;
    const needed = LENGTH_BYTES + this.#length();
    if (this.#bytes < needed) return undefined;
    const all = this.#chunks.length === 1 ? this.#chunks[0] as Uint8Array : join(this.#chunks);
    const rest = all.subarray(needed);
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.#bytes = rest.length;
    return all.subarray(LENGTH_BYTES, needed);
  }

  #length(): number {
    if ((this.#chunks[0] as Uint8Array).length < LENGTH_BYTES) this.#chunks = [join(this.#chunks)];
    const { buffer, byteOffset, byteLength } = this.#chunks[0] as Uint8Array;
    const length = new DataView(buffer, byteOffset, byteLength).getUint32(0);
    if (length > MAX_BYTES) {
      throw new ViciFormatError(`a packet of ${length} bytes is longer than ${MAX_BYTES}`);
    }
    return length;
  }
}

/** A packet without its length. Throws `ViciFormatError`. */
export function decodePacket(bytes: Uint8Array): ViciPacket {
  const type = bytes[0];
  if (type === undefined || type > EVENT) {
    throw new ViciFormatError(type === undefined ? "an empty packet" : `unknown packet ${type}`);
  }
  if (!NAMED.has(type)) return { type, name: "", message: decodeMessage(bytes.subarray(1)) };
  const messageAt = 2 + (bytes[1] ?? 0);
  if (bytes.length < messageAt) throw new ViciFormatError("a packet is truncated in its name");
  const name = new TextDecoder().decode(bytes.subarray(2, messageAt));
  return { type, name, message: decodeMessage(bytes.subarray(messageAt)) };
}

const LENGTH_BYTES = 4;
/** The limit of strongSwan in both directions. */
const MAX_BYTES = 512 * 1024;
const NAMED: ReadonlySet<number> = new Set([CMD_REQUEST, EVENT_REGISTER, EVENT_UNREGISTER, EVENT]);

function join(chunks: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(chunks);
}
