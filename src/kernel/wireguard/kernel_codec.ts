/** Codec of the generic netlink family "wireguard" (linux/wireguard.h). */

import * as k from "../../../ffi/linux.ts";
import { addressBytes, addressFromBytes, familyOf } from "../../addr/ip.ts";
import { type Prefix, prefixAddress, prefixFromBytes, prefixLength } from "../../addr/prefix.ts";
import {
  type WireguardKey,
  wireguardKeyBytes,
  wireguardKeyFromBytes,
  ZERO_KEY,
} from "../../addr/wireguard_key.ts";
import type { WireguardEndpoint } from "../../state/resource.ts";
import type { AttributeWriter } from "../wire/attribute_writer.ts";
import { Attributes, type MessageReader } from "../wire/message_reader.ts";
import {
  type DeviceChange,
  type PeerChange,
  type WireguardDeviceState,
  type WireguardPeerState,
} from "./wireguard_driver.ts";

/** Joins the messages of a WG_CMD_GET_DEVICE dump, which may split a peer in two. */
export class DeviceDecoder {
  #identity = 0;
  #privateKey: WireguardKey | undefined;
  #listenPort = 0;
  readonly #peers: (WireguardPeerState & { readonly allowedIps: Prefix[] })[] = [];

  /** Reads one message of the dump. Malformed parts are left out. */
  add(message: MessageReader, attributesAt: number): void {
    device.read(message, attributesAt, message.end);
    this.#identity = device.u32(k.WGDEVICE_A_IFINDEX) ?? this.#identity;
    this.#privateKey = keyOf(device.bytes(k.WGDEVICE_A_PRIVATE_KEY)) ?? this.#privateKey;
    this.#listenPort = device.u16(k.WGDEVICE_A_LISTEN_PORT) ?? this.#listenPort;
    device.each(k.WGDEVICE_A_PEERS, (start, end) => this.#addPeer(message, start, end));
  }

  /** `undefined` if no message described a device. */
  get result(): WireguardDeviceState | undefined {
    if (this.#identity === 0) return undefined;
    for (const { allowedIps } of this.#peers) allowedIps.sort();
    return {
      identity: this.#identity,
      ...(this.#privateKey === undefined ? {} : { privateKey: this.#privateKey }),
      listenPort: this.#listenPort,
      peers: this.#peers,
    };
  }

  #addPeer(message: MessageReader, start: number, end: number): void {
    peer.read(message, start, end);
    const publicKey = keyOf(peer.bytes(k.WGPEER_A_PUBLIC_KEY));
    if (publicKey === undefined) return;
    const last = this.#peers.at(-1);
    const allowedIps = last?.publicKey === publicKey ? last.allowedIps : [];
    peer.each(k.WGPEER_A_ALLOWEDIPS, (start, end) => {
      const prefix = prefixOf(allowedIp.read(message, start, end));
      if (prefix !== undefined) allowedIps.push(prefix);
    });
    if (last?.publicKey === publicKey) return;
    const presharedKey = keyOf(peer.bytes(k.WGPEER_A_PRESHARED_KEY));
    const endpoint = endpointOf(peer.bytes(k.WGPEER_A_ENDPOINT));
    this.#peers.push({
      publicKey,
      ...(presharedKey === undefined ? {} : { presharedKey }),
      ...(endpoint === undefined ? {} : { endpoint }),
      keepaliveSeconds: peer.u16(k.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL) ?? 0,
      lastHandshakeMs: milliseconds(peer.bytes(k.WGPEER_A_LAST_HANDSHAKE_TIME)),
      allowedIps,
    });
  }
}

/** Writes the attributes of WG_CMD_SET_DEVICE for a change that fits into one message. */
export function writeDevice(
  attributes: AttributeWriter,
  ifindex: number,
  change: DeviceChange,
): void {
  attributes.u32(k.WGDEVICE_A_IFINDEX, ifindex);
  const { privateKey, listenPort, peers = [] } = change;
  if (privateKey !== undefined) {
    attributes.bytes(k.WGDEVICE_A_PRIVATE_KEY, wireguardKeyBytes(privateKey));
  }
  if (listenPort !== undefined) attributes.u16(k.WGDEVICE_A_LISTEN_PORT, listenPort);
  if (peers.length === 0) return;
  attributes.nested(k.WGDEVICE_A_PEERS, () => {
    for (const peer of peers) attributes.nested(0, () => writePeer(attributes, peer));
  });
}

/**
 * Splits a change into parts of one message each: an attribute, and so the list of peers, must be
 * smaller than 64 KiB. A peer with many allowed IPs is split into several parts, of which the first
 * has its other attributes, too.
 */
export function messagesOf(change: DeviceChange): DeviceChange[] {
  const { peers = [], ...device } = change;
  const messages: { peers: PeerChange[] }[] = [{ ...device, peers: [] }];
  let bytes = 0;
  for (const part of peers.flatMap(partsOfPeer)) {
    const partBytes = sizeOf(part);
    if (bytes + partBytes > PEERS_BYTES) {
      messages.push({ peers: [] });
      bytes = 0;
    }
    messages.at(-1)?.peers.push(part);
    bytes += partBytes;
  }
  return messages;
}

/** Larger than any message of `messagesOf`. */
export const MAX_SET_DEVICE_BYTES = 33 * 1024;

/**
 * Size of the peers in one message. For each new peer the kernel computes a shared secret, which
 * takes about 50 µs and blocks this thread.
 */
const PEERS_BYTES = 16 * 1024;
/** In one part of a peer, so that the part is smaller than `PEERS_BYTES`. */
const ALLOWED_IPS_PER_PART = 256;
/** Upper bounds for a peer without allowed IPs, and for one allowed IP. */
const PEER_BYTES = 140;
const ALLOWED_IP_BYTES = 40;

// Attribute indexes, reused for every message.
const device = new Attributes();
const peer = new Attributes();
const allowedIp = new Attributes();

function partsOfPeer(peer: PeerChange): PeerChange[] {
  if (peer.op === "remove" || peer.allowedIps.length <= ALLOWED_IPS_PER_PART) return [peer];
  const parts: PeerChange[] = [];
  for (let at = 0; at < peer.allowedIps.length; at += ALLOWED_IPS_PER_PART) {
    const allowedIps = peer.allowedIps.slice(at, at + ALLOWED_IPS_PER_PART);
    const replaceAllowedIps = peer.replaceAllowedIps && at === 0;
    parts.push({ ...peer, updateOnly: peer.updateOnly || at > 0, replaceAllowedIps, allowedIps });
  }
  return parts;
}

function sizeOf(peer: PeerChange): number {
  return PEER_BYTES + (peer.op === "set" ? peer.allowedIps.length * ALLOWED_IP_BYTES : 0);
}

function writePeer(attributes: AttributeWriter, peer: PeerChange): void {
  attributes.bytes(k.WGPEER_A_PUBLIC_KEY, wireguardKeyBytes(peer.publicKey));
  if (peer.op === "remove") return attributes.u32(k.WGPEER_A_FLAGS, k.WGPEER_F_REMOVE_ME);
  attributes.u32(
    k.WGPEER_A_FLAGS,
    (peer.updateOnly ? k.WGPEER_F_UPDATE_ONLY : 0) |
      (peer.replaceAllowedIps ? k.WGPEER_F_REPLACE_ALLOWEDIPS : 0),
  );
  attributes.bytes(k.WGPEER_A_PRESHARED_KEY, wireguardKeyBytes(peer.presharedKey));
  if (peer.endpoint !== undefined) {
    attributes.bytes(k.WGPEER_A_ENDPOINT, socketAddress(peer.endpoint));
  }
  attributes.u16(k.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, peer.keepaliveSeconds);
  if (peer.allowedIps.length === 0) return;
  attributes.nested(k.WGPEER_A_ALLOWEDIPS, () => {
    for (const prefix of peer.allowedIps) {
      attributes.nested(0, () => {
        attributes.u16(k.WGALLOWEDIP_A_FAMILY, familyOf(prefix) === 4 ? k.AF_INET : k.AF_INET6);
        attributes.bytes(k.WGALLOWEDIP_A_IPADDR, addressBytes(prefixAddress(prefix)));
        attributes.u8(k.WGALLOWEDIP_A_CIDR_MASK, prefixLength(prefix));
      });
    }
  });
}

/** `undefined` if invalid, and for the zero key, which stands for none. */
function keyOf(bytes: Uint8Array | undefined): WireguardKey | undefined {
  if (bytes?.length !== k.WG_KEY_LEN) return undefined;
  const key = wireguardKeyFromBytes(bytes);
  return key === ZERO_KEY ? undefined : key;
}

function prefixOf(attributes: Attributes): Prefix | undefined {
  const bytes = attributes.bytes(k.WGALLOWEDIP_A_IPADDR);
  const length = attributes.u8(k.WGALLOWEDIP_A_CIDR_MASK) ?? Infinity;
  const family = attributes.u16(k.WGALLOWEDIP_A_FAMILY);
  const size = family === k.AF_INET ? 4 : family === k.AF_INET6 ? 16 : 0;
  if (bytes?.length !== size || length > size * 8) return undefined;
  return prefixFromBytes(bytes, length);
}

/** From struct sockaddr_in or sockaddr_in6. */
function endpointOf(bytes: Uint8Array | undefined): WireguardEndpoint | undefined {
  if (bytes === undefined || bytes.length < k.sockaddr_in.size) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const port = view.getUint16(k.sockaddr_in.sin_port, false);
  switch (view.getUint16(k.sockaddr_in.sin_family, true)) {
    case k.AF_INET: {
      const at = k.sockaddr_in.sin_addr;
      return { address: addressFromBytes(bytes.subarray(at, at + 4)), port };
    }
    case k.AF_INET6: {
      if (bytes.length < k.sockaddr_in6.size) return undefined;
      const at = k.sockaddr_in6.sin6_addr;
      return { address: addressFromBytes(bytes.subarray(at, at + 16)), port };
    }
  }
  return undefined;
}

function socketAddress({ address, port }: WireguardEndpoint): Uint8Array {
  const isV4 = familyOf(address) === 4;
  const bytes = new Uint8Array(isV4 ? k.sockaddr_in.size : k.sockaddr_in6.size);
  const view = new DataView(bytes.buffer);
  view.setUint16(k.sockaddr_in.sin_family, isV4 ? k.AF_INET : k.AF_INET6, true);
  view.setUint16(k.sockaddr_in.sin_port, port, false);
  bytes.set(addressBytes(address), isV4 ? k.sockaddr_in.sin_addr : k.sockaddr_in6.sin6_addr);
  return bytes;
}

/** From struct __kernel_timespec. */
function milliseconds(bytes: Uint8Array | undefined): number {
  if (bytes?.length !== k.__kernel_timespec.size) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const seconds = Number(view.getBigInt64(k.__kernel_timespec.tv_sec, true));
  return seconds * 1000 + Number(view.getBigInt64(k.__kernel_timespec.tv_nsec, true)) / 1e6;
}
