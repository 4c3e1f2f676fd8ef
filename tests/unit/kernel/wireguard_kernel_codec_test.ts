/** Messages of the kernel's WireGuard family: round trip, size limits, garbage. */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { libc } from "../../../ffi/libc.ts";
import { libnlGeneric } from "../../../ffi/libnl.ts";
import * as k from "../../../ffi/linux.ts";
import { addressOf, type Pointer, readUint32 } from "../../../ffi/memory.ts";
import { AttributeWriter } from "../../../src/kernel/wire/attribute_writer.ts";
import { MessageReader } from "../../../src/kernel/wire/message_reader.ts";
import {
  DeviceDecoder,
  MAX_SET_DEVICE_BYTES,
  messagesOf,
  writeDevice,
} from "../../../src/kernel/wireguard/kernel_codec.ts";
import type {
  DeviceChange,
  WireguardDeviceState,
} from "../../../src/kernel/wireguard/wireguard_driver.ts";
import { deviceChange, key, peerSetting, prefixes } from "./wireguard_arbitrary.ts";

const IFINDEX = 7;

test("a change of any size reads back as it was written", () => {
  fc.assert(
    fc.property(deviceChange, (change) => {
      const settings = (change.peers ?? []).filter((peer) => peer.op === "set");
      const reading = read(
        messagesOf({ ...change, peers: settings }).map((message) => encode(message)),
      );
      expect(reading).toEqual({
        identity: IFINDEX,
        ...(change.privateKey === undefined ? {} : { privateKey: change.privateKey }),
        listenPort: change.listenPort ?? 0,
        peers: settings.map(({ publicKey, presharedKey, endpoint, ...peer }) => ({
          publicKey,
          presharedKey,
          ...(endpoint === undefined ? {} : { endpoint }),
          keepaliveSeconds: peer.keepaliveSeconds,
          lastHandshakeMs: 0,
          allowedIps: peer.allowedIps.toSorted(),
        })),
      });
    }),
    { numRuns: 300 },
  );
});

test("a peer with many allowed IPs is split, and its old ones are removed only once", () => {
  const allowedIps = prefixes(3000);
  const [peer] = fc.sample(peerSetting, 1);
  const change = { peers: [{ ...peer, updateOnly: false, replaceAllowedIps: true, allowedIps }] };
  const messages = messagesOf(change as DeviceChange);
  const parts = messages.flatMap(({ peers = [] }) => peers.filter((part) => part.op === "set"));
  expect(messages.length).toBeGreaterThan(2);
  expect(parts.flatMap((part) => part.allowedIps)).toEqual(allowedIps);
  expect(parts.map((part) => part.replaceAllowedIps))
    .toEqual([true, ...new Array<boolean>(parts.length - 1).fill(false)]);
  expect(parts.map((part) => part.updateOnly))
    .toEqual([false, ...new Array<boolean>(parts.length - 1).fill(true)]);
  for (const message of messages) expect(encode(message).length).toBeLessThan(MAX_SET_DEVICE_BYTES);
});

test("a thousand peers are split into messages far below the size limit of an attribute", () => {
  const peers = fc.sample(peerSetting, 1000);
  const messages = messagesOf({ listenPort: 51820, peers });
  expect(messages.flatMap((message) => message.peers ?? [])).toEqual(peers);
  expect(messages[0]?.listenPort).toBe(51820);
  expect(messages.slice(1).every((message) => message.listenPort === undefined)).toBe(true);
  for (const message of messages) expect(encode(message).length).toBeLessThan(MAX_SET_DEVICE_BYTES);
});

test("a message without room is an error, not truncated", () => {
  const peers = fc.sample(peerSetting, 10);
  expect(() => encode({ peers }, 256)).toThrow(RangeError);
});

test("the removal of a peer contains only its key", () => {
  const [publicKey] = fc.sample(key, 1);
  const bytes = encode({ peers: [{ op: "remove", publicKey: publicKey as never }] });
  // Headers 20, index 8, list 4, peer 4, key 36, flags 8.
  expect(bytes.length).toBe(80);
  expect(new DataView(bytes.buffer).getUint32(76, true)).toBe(k.WGPEER_F_REMOVE_ME);
});

test("garbage after a valid header is read without an error", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (garbage) => {
      read([message(garbage)]);
    }),
    { numRuns: 100_000 },
  );
});

test("a valid message with some bytes changed or cut off is read without an error", () => {
  const [peers] = fc.sample(fc.array(peerSetting, { minLength: 2, maxLength: 2 }), 1);
  const sound = encode({ listenPort: 51820, peers: peers as never });
  const changes = fc.array(fc.tuple(fc.nat(sound.length - 1), fc.nat(255)), { maxLength: 6 });
  fc.assert(
    fc.property(changes, fc.nat(sound.length), (changes, length) => {
      const bytes = sound.slice(0, Math.max(length, k.nlmsghdr.size + k.genlmsghdr.size));
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      new DataView(bytes.buffer).setUint32(0, bytes.length, true);
      for (const peer of read([bytes])?.peers ?? []) {
        expect(peer.publicKey.length).toBe(44);
        for (const prefix of peer.allowedIps) expect(prefix).toMatch(/^[\da-f.:]+\/\d+$/);
      }
    }),
    { numRuns: 100_000 },
  );
});

/** The bytes of a message of the family. */
function encode(change: DeviceChange, maxBytes: number = MAX_SET_DEVICE_BYTES): Uint8Array {
  const nl = libnlGeneric();
  const message = nl.nlmsg_alloc_size(maxBytes) as Pointer;
  try {
    nl.genlmsg_put(message, 0, 1, 30, 0, 0, k.WG_CMD_SET_DEVICE, k.WG_GENL_VERSION);
    writeDevice(new AttributeWriter(nl, message), IFINDEX, change);
    const header = nl.nlmsg_hdr(message) as Pointer;
    const bytes = new Uint8Array(readUint32(header));
    libc().memcpy(addressOf(bytes), header, bytes.length);
    return bytes;
  } finally {
    nl.nlmsg_free(message);
  }
}

/** These bytes as the attributes of a message. */
function message(attributes: Uint8Array): Uint8Array {
  const headers = k.nlmsghdr.size + k.genlmsghdr.size;
  const bytes = new Uint8Array(headers + attributes.length);
  bytes.set(attributes, headers);
  new DataView(bytes.buffer).setUint32(0, bytes.length, true);
  return bytes;
}

function read(messages: readonly Uint8Array[]): WireguardDeviceState | undefined {
  const decoder = new DeviceDecoder();
  for (const bytes of messages) {
    const reader = new MessageReader(bytes);
    reader.reset(bytes.length);
    expect(reader.next()).toBe(true);
    decoder.add(reader, reader.start + k.genlmsghdr.size);
  }
  return decoder.result;
}
