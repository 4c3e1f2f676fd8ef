/**
 * The states of the kernel's IPsec database, over NETLINK_XFRM (linux/xfrm.h): the tunnels
 * themselves, which an IKE daemon makes. Here they are only looked at.
 */

import { errnoName } from "../../ffi/errno.ts";
import * as k from "../../ffi/linux.ts";
import { addressFromBytes, familyOf, type IpAddress } from "../addr/ip.ts";
import { writeAddress } from "./address_bytes.ts";
import { addressFamily, addressLength, familyFrom } from "./address_family.ts";
import { Channel } from "./channel.ts";
import { KernelError, type XfrmStateEnds, type XfrmStateId, type XfrmStates } from "./kernel.ts";
import { MessageBatch } from "./message_batch.ts";
import { Notifications } from "./notifications.ts";
import { Attributes, type MessageReader } from "./reader.ts";
import { NetlinkSocket } from "./socket.ts";

/** Throws `KernelError` if there is no netlink. A kernel without IPsec has no states to lose. */
export function openXfrmStates(): XfrmStates & Disposable {
  try {
    return new NetlinkXfrmStates(new NetlinkSocket(k.NETLINK_XFRM));
  } catch (error) {
    if (error instanceof KernelError && error.code === "EPROTONOSUPPORT") return WITHOUT_IPSEC;
    throw error;
  }
}

class NetlinkXfrmStates implements XfrmStates, Disposable {
  readonly #socket: NetlinkSocket;
  readonly #channel: Channel<MessageBatch>;

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
    this.#channel = new Channel(socket, new MessageBatch());
  }

  lacks(id: XfrmStateId): boolean {
    try {
      // The answer would hold the keys: it is not read.
      const refusal = this.#channel.ask(
        (batch) => batch.build(k.XFRM_MSG_GETSA, 0, encodeId(id)),
        () => {},
      );
      return refusal !== undefined && errnoName(refusal.errno) === "ESRCH";
    } catch (error) {
      if (error instanceof KernelError) return false; // It has not said anything.
      throw error;
    }
  }

  watch(listener: (ends: XfrmStateEnds | undefined) => void): Disposable {
    const notifications: Notifications = new Notifications({
      protocol: k.NETLINK_XFRM,
      groups: [k.XFRMNLGRP_SA],
      receiveBufferBytes: WATCH_BUFFER_BYTES,
      read: (messages) => {
        while (!notifications.isDisposed && messages.next()) {
          if (messages.type === k.XFRM_MSG_FLUSHSA) listener(undefined);
          else if (messages.type === k.XFRM_MSG_DELSA) listener(decodeEnds(messages));
        }
      },
      lost: () => listener(undefined),
    });
    notifications.start();
    return notifications;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

const WITHOUT_IPSEC: XfrmStates & Disposable = {
  lacks: () => false,
  watch: () => ({ [Symbol.dispose]: () => {} }),
  [Symbol.dispose]: () => {},
};

/** A notification takes about 1 KiB: room for 8000 that nobody has read yet. */
const WATCH_BUFFER_BYTES = 8 * 1024 * 1024;

/** struct xfrm_usersa_id */
function encodeId({ destination, spi }: XfrmStateId): Uint8Array {
  const s = k.xfrm_usersa_id;
  const bytes = new Uint8Array(s.size);
  const view = new DataView(bytes.buffer);
  writeAddress(destination, bytes.subarray(s.daddr));
  view.setUint32(s.spi, spi);
  view.setUint16(s.family, addressFamily(familyOf(destination)), true);
  view.setUint8(s.proto, k.IPPROTO_ESP);
  return bytes;
}

const attributes = new Attributes();

/** Of XFRM_MSG_DELSA, whose head has only the destination, and an attribute has all. */
function decodeEnds(message: MessageReader): XfrmStateEnds | undefined {
  const s = k.xfrm_usersa_info;
  attributes.read(message, message.start + k.xfrm_usersa_id.size, message.end);
  const info = attributes.bytes(k.XFRMA_SA);
  if (info === undefined || info.length < s.size) return undefined;
  const view = new DataView(info.buffer, info.byteOffset, info.byteLength);
  const family = familyFrom(view.getUint16(s.family, true));
  if (family === undefined) return undefined;
  const addressAt = (at: number): IpAddress =>
    addressFromBytes(info.subarray(at, at + addressLength(family)));
  return { source: addressAt(s.saddr), destination: addressAt(s.id + k.xfrm_id.daddr) };
}
