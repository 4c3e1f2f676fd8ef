/**
 * The states of the kernel's IPsec database, over NETLINK_XFRM (linux/xfrm.h): the tunnels
 * themselves, which an IKE daemon creates. They are only read here, except for a probe.
 */

import { errnoName } from "../../../ffi/errno.ts";
import { libnlCore } from "../../../ffi/libnl.ts";
import * as k from "../../../ffi/linux.ts";
import type { Pointer } from "../../../ffi/memory.ts";
import { addressFromBytes, type Family, familyOf, type IpAddress } from "../../addr/ip.ts";
import type { Clock } from "../../base/clock.ts";
import { writeAddress } from "../wire/address_bytes.ts";
import { addressFamily, addressLength, familyFrom } from "../wire/address_family.ts";
import { AttributeWriter } from "../wire/attribute_writer.ts";
import { Channel } from "../wire/channel.ts";
import { KernelError } from "../wire/kernel_error.ts";
import { MessageBatch } from "../wire/message_batch.ts";
import { Attributes, type MessageReader } from "../wire/message_reader.ts";
import { NetlinkSocket } from "../wire/netlink_socket.ts";
import { Notifications } from "../wire/notifications.ts";

/** The security associations that an IKE daemon has created, as far as a backend needs them. */
export interface XfrmStates extends Disposable {
  /**
   * Whether the kernel definitely has no ESP (RFC 4303) for addresses of this family. It is probed
   * with a state between this host and itself, deleted before this returns; the kernel loads the
   * module for it if it has one.
   */
  lacksEsp(family: Family): boolean;
  /** Whether the kernel definitely does not have this state. */
  lacks(id: XfrmStateId): boolean;
  /**
   * Calls `listener` with the ends of each state that is deleted, until disposed; with `undefined`
   * when any number of states may be gone: all were flushed, or notifications were lost. An expired
   * state is not reported. Throws `KernelError`.
   */
  watch(listener: (ends: XfrmStateEnds | undefined) => void): Disposable;
}

/** How the kernel finds the ESP state of a packet (RFC 4303 2.1). */
export interface XfrmStateId {
  readonly destination: IpAddress;
  readonly spi: number;
}

/** Outer addresses. */
export interface XfrmStateEnds {
  readonly source: IpAddress;
  readonly destination: IpAddress;
}

/** Throws `KernelError` if there is no netlink. A kernel without IPsec has no states to lose. */
export function openXfrmStates(clock: Clock): XfrmStates {
  try {
    return new NetlinkXfrmStates(clock, new NetlinkSocket(k.NETLINK_XFRM));
  } catch (error) {
    if (error instanceof KernelError && error.errno === "EPROTONOSUPPORT") return WITHOUT_IPSEC;
    throw error;
  }
}

class NetlinkXfrmStates implements XfrmStates {
  readonly #clock: Clock;
  readonly #socket: NetlinkSocket;
  readonly #channel: Channel<MessageBatch>;

  constructor(clock: Clock, socket: NetlinkSocket) {
    this.#clock = clock;
    this.#socket = socket;
    this.#channel = new Channel(socket, new MessageBatch());
  }

  lacksEsp(family: Family): boolean {
    const { encoder } = this.#channel;
    const id = { destination: LOOPBACK[family], spi: PROBE_SPI };
    try {
      encoder.build(k.XFRM_MSG_NEWSA, k.NLM_F_EXCL, encodeProbe(id), writeNullAlgorithms);
      const refusal = this.#channel.send().get(0);
      if (refusal !== undefined) return errnoName(refusal.errno) === "EPROTONOSUPPORT";
      encoder.build(k.XFRM_MSG_DELSA, 0, encodeId(id));
      this.#channel.send();
      return false;
    } catch (error) {
      if (error instanceof KernelError) return false; // no response: unknown
      throw error;
    }
  }

  lacks(id: XfrmStateId): boolean {
    try {
      // The reply contains the keys: it is not read.
      const refusal = this.#channel.get(
        (batch) => batch.build(k.XFRM_MSG_GETSA, 0, encodeId(id)),
        () => {},
      );
      return refusal !== undefined && errnoName(refusal.errno) === "ESRCH";
    } catch (error) {
      if (error instanceof KernelError) return false; // no response: unknown
      throw error;
    }
  }

  watch(listener: (ends: XfrmStateEnds | undefined) => void): Disposable {
    const notifications: Notifications = new Notifications({
      clock: this.#clock,
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

const WITHOUT_IPSEC: XfrmStates = {
  lacksEsp: () => true,
  lacks: () => false,
  watch: () => ({ [Symbol.dispose]: () => {} }),
  [Symbol.dispose]: () => {},
};

/** Room for 8000 unread notifications of about 1 KiB. */
const WATCH_BUFFER_BYTES = 8 * 1024 * 1024;

/** The ends of the probe: no host sends packets to itself through a tunnel. */
const LOOPBACK = { 4: "127.0.0.1" as IpAddress, 6: "::1" as IpAddress } as const;
const PROBE_SPI = 0x666c_0001;

/** struct xfrm_usersa_info of a state in tunnel mode that allows no traffic. */
function encodeProbe({ destination, spi }: XfrmStateId): Uint8Array {
  const s = k.xfrm_usersa_info;
  const bytes = new Uint8Array(s.size);
  const view = new DataView(bytes.buffer);
  writeAddress(destination, bytes.subarray(s.id + k.xfrm_id.daddr));
  view.setUint32(s.id + k.xfrm_id.spi, spi);
  view.setUint8(s.id + k.xfrm_id.proto, k.IPPROTO_ESP);
  writeAddress(destination, bytes.subarray(s.saddr));
  view.setUint16(s.family, addressFamily(familyOf(destination)), true);
  view.setUint8(s.mode, k.XFRM_MODE_TUNNEL);
  return bytes;
}

/** Algorithms without keys, which ESP always has: a missing cipher would be another problem. */
function writeNullAlgorithms(message: Pointer): void {
  const attributes = new AttributeWriter(libnlCore(), message);
  attributes.bytes(k.XFRMA_ALG_CRYPT, encodeAlgorithm("ecb(cipher_null)"));
  attributes.bytes(k.XFRMA_ALG_AUTH, encodeAlgorithm("digest_null"));
}

/** struct xfrm_algo without a key */
function encodeAlgorithm(name: string): Uint8Array {
  const bytes = new Uint8Array(k.xfrm_algo.size);
  bytes.set(Buffer.from(name), k.xfrm_algo.alg_name);
  return bytes;
}

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

/** Of XFRM_MSG_DELSA: the header has only the destination; an attribute has the whole state. */
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
