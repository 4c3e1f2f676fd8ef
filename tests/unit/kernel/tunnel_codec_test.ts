/** Codecs of ipip tunnels and FOU ports: round trip, garbage. */

import { expect, test } from "bun:test";
import fc from "fast-check";
import * as k from "../../../ffi/linux.ts";
import { addressFromBytes } from "../../../src/addr/ip.ts";
import { decodeFouPort } from "../../../src/kernel/fou_ports.ts";
import { IPIP_CODEC } from "../../../src/kernel/rtnetlink/ipip_codec.ts";
import { decodeLink } from "../../../src/kernel/rtnetlink/link_decoder.ts";
import { RtnetlinkEncoder } from "../../../src/kernel/rtnetlink/rtnetlink_encoder.ts";
import { MessageReader } from "../../../src/kernel/wire/message_reader.ts";
import { type IpipLink, NO_MAC } from "../../../src/state/resource.ts";

const RUNS = { numRuns: 100_000 };

const port = fc.integer({ min: 1, max: 65535 });
const tunnel: fc.Arbitrary<IpipLink> = fc.record({
  name: fc.constantFrom("flannel.ipip", "flannel0"),
  mtuBytes: fc.integer({ min: 68, max: 65_515 }),
  up: fc.boolean(),
  local: fc.uint8Array({ minLength: 4, maxLength: 4 }).map(addressFromBytes),
  fouPort: fc.option(port, { nil: undefined }),
}).map(({ fouPort, ...rest }) => ({
  kind: "link",
  type: "ipip",
  mac: NO_MAC,
  ...rest,
  ...(fouPort === undefined ? {} : { fouPort }),
}));

/** The message that creates a tunnel, with an index like those that the kernel assigns. */
function creation(encoder: RtnetlinkEncoder, link: IpipLink): Uint8Array {
  encoder.clear();
  IPIP_CODEC.creation?.append(encoder, link, 0);
  const bytes = encoder.bytes.slice();
  new DataView(bytes.buffer).setInt32(k.nlmsghdr.size + k.ifinfomsg.ifi_index, 7, true);
  return bytes;
}

test("a tunnel reads back from its creation message", () => {
  using encoder = new RtnetlinkEncoder();
  fc.assert(fc.property(tunnel, (link) => {
    const message = messages(creation(encoder, link));
    expect(message.next()).toBe(true);
    expect(decodeLink(message)?.link).toEqual(link);
  }));
});

test("a tunnel's message with some bytes changed or cut off is read without an error", () => {
  using encoder = new RtnetlinkEncoder();
  const change = fc.tuple(fc.nat(511), fc.nat(255));
  fc.assert(
    fc.property(tunnel, fc.array(change, { maxLength: 6 }), fc.nat(100), (link, changes, cut) => {
      const bytes = creation(encoder, link);
      for (const [at, value] of changes) bytes[16 + at % (bytes.length - 16)] = value;
      const message = messages(bytes.subarray(0, Math.max(0, bytes.length - cut)));
      while (message.next()) decodeLink(message);
    }),
    RUNS,
  );
}, 60_000);

interface FouEntry {
  readonly port: number;
  readonly protocol: number;
  readonly addressFamily: number;
  readonly type: number;
  readonly local: number | undefined;
  readonly peerPort: number | undefined;
  readonly ifindex: number | undefined;
}

const fouEntry: fc.Arbitrary<FouEntry> = fc.record({
  port,
  protocol: fc.nat(255),
  addressFamily: fc.constantFrom(k.AF_INET, k.AF_INET, k.AF_INET6),
  type: fc.constantFrom(k.FOU_ENCAP_DIRECT, k.FOU_ENCAP_DIRECT, 2),
  local: fc.constantFrom(undefined, 0, 0, 0x0100007f),
  peerPort: fc.constantFrom(undefined, 0, 0, 4789),
  ifindex: fc.constantFrom(undefined, 0, 0, 3),
});

test("a FOU port is read if it is for IPv4, open to all senders, and without a GUE header", () => {
  const seen = { ours: 0, others: 0 };
  fc.assert(
    fc.property(fouEntry, (entry) => {
      const isOurs = entry.addressFamily === k.AF_INET && entry.type === k.FOU_ENCAP_DIRECT &&
        !entry.local && !entry.peerPort && !entry.ifindex;
      seen[isOurs ? "ours" : "others"]++;
      const decoded = read(attributesOf(entry));
      if (isOurs) {
        expect(decoded).toEqual({ kind: "fou", port: entry.port, protocol: entry.protocol });
      } else expect(decoded).toBeUndefined();
    }),
    { numRuns: 2000 },
  );
  expect(Math.min(seen.ours, seen.others)).toBeGreaterThan(100);
});

test("any bytes after the header of an entry are read without an error", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => void read(bytes)), RUNS);
  const change = fc.tuple(fc.nat(511), fc.nat(255));
  fc.assert(
    fc.property(fouEntry, fc.array(change, { maxLength: 6 }), fc.nat(60), (entry, changes, cut) => {
      const bytes = attributesOf(entry);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      read(bytes.subarray(0, Math.max(0, bytes.length - cut)));
    }),
    RUNS,
  );
}, 60_000);

function attributesOf(entry: FouEntry): Uint8Array {
  const bytes: number[] = [];
  const add = (type: number, value: readonly number[]) => {
    bytes.push(4 + value.length, 0, type, 0, ...value);
    while (bytes.length % 4 !== 0) bytes.push(0);
  };
  const be16 = (value: number) => [value >> 8, value & 255];
  const u32 = (
    value: number,
  ) => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];
  add(k.FOU_ATTR_AF, [entry.addressFamily]);
  add(k.FOU_ATTR_PORT, be16(entry.port));
  if (entry.peerPort !== undefined) add(k.FOU_ATTR_PEER_PORT, be16(entry.peerPort));
  add(k.FOU_ATTR_IPPROTO, [entry.protocol]);
  add(k.FOU_ATTR_TYPE, [entry.type]);
  if (entry.ifindex !== undefined) add(k.FOU_ATTR_IFINDEX, u32(entry.ifindex));
  if (entry.local !== undefined) add(k.FOU_ATTR_LOCAL_V4, u32(entry.local));
  return Uint8Array.from(bytes);
}

/** One entry of a FOU_CMD_GET dump. */
function read(attributes: Uint8Array) {
  const bytes = new Uint8Array(k.nlmsghdr.size + k.genlmsghdr.size + attributes.length);
  new DataView(bytes.buffer).setUint32(k.nlmsghdr.nlmsg_len, bytes.length, true);
  bytes.set(attributes, k.nlmsghdr.size + k.genlmsghdr.size);
  const message = messages(bytes);
  expect(message.next()).toBe(true);
  return decodeFouPort(message, message.start + k.genlmsghdr.size);
}

function messages(bytes: Uint8Array): MessageReader {
  const reader = new MessageReader(bytes);
  reader.reset(bytes.length);
  return reader;
}
