/** Codecs of rtnetlink: round trip, garbage. */

import { expect, test } from "bun:test";
import fc from "fast-check";
import * as k from "../../../ffi/linux.ts";
import { addressBytes, addressFromBytes, type IpAddress } from "../../../src/addr/ip.ts";
import { macBytes, macFromBytes } from "../../../src/addr/mac.ts";
import { makePrefix } from "../../../src/addr/prefix.ts";
import { decodeNexthop, nexthopIdOf } from "../../../src/kernel/nexthop/nexthop_decoder.ts";
import type { RtnetlinkEntry } from "../../../src/kernel/rtnetlink/entry_codec.ts";
import { codecOfMessage, ENTRY_CODECS } from "../../../src/kernel/rtnetlink/entry_codecs.ts";
import { decodeLink } from "../../../src/kernel/rtnetlink/link_decoder.ts";
import { decodeLookup } from "../../../src/kernel/rtnetlink/route_lookup.ts";
import { RtnetlinkEncoder } from "../../../src/kernel/rtnetlink/rtnetlink_encoder.ts";
import { writeAddress, writeMac } from "../../../src/kernel/wire/address_bytes.ts";
import { Attributes, MessageReader } from "../../../src/kernel/wire/message_reader.ts";

const NAMES = new Map([[7, "flannel.1"]]);

const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map(addressFromBytes);
const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(addressFromBytes);
const sparseIpv6 = fc.array(fc.constantFrom(0, 0, 1, 0x5a), { minLength: 16, maxLength: 16 })
  .map((bytes) => addressFromBytes(Uint8Array.from(bytes)));
const ip = fc.oneof(ipv4, ipv6, sparseIpv6);
const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(macFromBytes);

test("addresses are written like the address types write them", () => {
  const target = new Uint8Array(16);
  fc.assert(fc.property(ip, (address) => {
    target.fill(0xee);
    const length = writeAddress(address, target);
    expect([...target.slice(0, length)]).toEqual([...addressBytes(address)]);
  }));
  fc.assert(fc.property(mac, (address) => {
    writeMac(address, target);
    expect([...target.slice(0, 6)]).toEqual([...macBytes(address)]);
  }));
});

const entry: fc.Arbitrary<RtnetlinkEntry> = fc.oneof(
  fc.record({
    kind: fc.constant("neighbour" as const),
    link: fc.constant("flannel.1"),
    address: ip,
    mac,
  }),
  fc.record({
    kind: fc.constant("fdb" as const),
    link: fc.constant("flannel.1"),
    mac,
    remote: ip,
  }),
  // To libnl a length of 0 means none.
  fc.record({ address: ip, length: fc.integer({ min: 1, max: 128 }) }).map((
    { address, length },
  ) => ({
    kind: "address" as const,
    link: "flannel.1",
    address,
    prefixLength: address.includes(":") ? length : (length - 1) % 32 + 1,
  })),
  fc.oneof(routeOf(ipv4, 32), routeOf(fc.oneof(ipv6, sparseIpv6), 128)),
);

function routeOf(address: fc.Arbitrary<IpAddress>, bits: number): fc.Arbitrary<RtnetlinkEntry> {
  return fc.record({
    destination: fc.tuple(address, fc.nat(bits)).map(([text, length]) => makePrefix(text, length)),
    gateway: fc.option(address, { nil: undefined }),
    source: fc.option(address, { nil: undefined }),
    isBlackhole: fc.boolean(),
    onlink: fc.boolean(),
    isLocal: fc.boolean(),
    metric: fc.nat(0xffff_ffff),
    protocol: fc.nat(255),
  }).map(({ gateway, source, isBlackhole, onlink, isLocal, ...rest }): RtnetlinkEntry => ({
    kind: "route",
    type: isBlackhole ? "blackhole" : "unicast",
    ...rest,
    ...(source === undefined ? {} : { source }),
    ...(isBlackhole ? {} : { link: "flannel.1" }),
    ...(isBlackhole || gateway === undefined ? {} : { gateway }),
    onlink: !isBlackhole && onlink,
    scope: isLocal ? "link" : "universe",
    table: 254,
  }));
}

test("entries in any order and mixture read back from the messages that libnl builds", () => {
  using encoder = new RtnetlinkEncoder();
  fc.assert(fc.property(fc.array(entry, { minLength: 1, maxLength: 40 }), (entries) => {
    encoder.clear();
    for (const each of entries) encoder.entry("set", each, "link" in each ? 7 : 0);
    encoder.number(100);
    const message = messages(encoder.bytes.slice());
    const decoded: unknown[] = [];
    while (message.next()) {
      expect(message.sequence).toBe(100 + decoded.length);
      expect(message.flags & ~k.NLM_F_ACK)
        .toBe(k.NLM_F_REQUEST | k.NLM_F_CREATE | k.NLM_F_REPLACE);
      decoded.push(decode(message));
    }
    expect(decoded).toEqual(entries);
  }));
});

function decode(message: MessageReader): unknown {
  const codec = codecOfMessage(message.type);
  expect(codec?.ifindexOf(message)).toBeOneOf([0, 7]);
  return codec?.isIgnored(message) ? undefined : codec?.decode(message, NAMES);
}

test("an exclusive creation has NLM_F_EXCL, a deletion has no flags of its own", () => {
  using encoder = new RtnetlinkEncoder();
  const neighbour: RtnetlinkEntry = {
    kind: "neighbour",
    link: "flannel.1",
    address: "10.5.2.0" as IpAddress,
    mac: macFromBytes(Uint8Array.of(2, 0, 0, 0, 0, 1)),
  };
  encoder.entry("create", neighbour, 7);
  encoder.entry("delete", neighbour, 7);
  encoder.number(1);
  encoder.acknowledgeLast();
  const message = messages(encoder.bytes.slice());
  message.next();
  expect(message.flags).toBe(k.NLM_F_REQUEST | k.NLM_F_CREATE | k.NLM_F_EXCL);
  message.next();
  expect([message.type, message.flags]).toEqual([k.RTM_DELNEIGH, k.NLM_F_REQUEST | k.NLM_F_ACK]);
});

const TYPES = [
  k.RTM_NEWLINK,
  k.RTM_NEWADDR,
  k.RTM_NEWNEIGH,
  k.RTM_NEWROUTE,
  k.NLMSG_ERROR,
  k.NLMSG_DONE,
];

/** Calls every decoder, whatever the type of the message. */
function decodeAll(message: MessageReader): void {
  decodeLink(message);
  for (const codec of ENTRY_CODECS) {
    codec.decode(message, NAMES);
    codec.isIgnored(message);
    codec.ifindexOf(message);
  }
  decodeNexthop(message);
  nexthopIdOf(message);
  decodeLookup(message);
}

test("garbage is read without an error, and not past its end", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    const message = messages(bytes);
    while (message.next()) {
      expect(message.end).toBeLessThanOrEqual(bytes.length);
      decodeAll(message);
    }
  }));
});

test("garbage after a valid message header is read without an error", () => {
  const body = fc.uint8Array({ maxLength: 200 });
  fc.assert(fc.property(fc.constantFrom(...TYPES), body, (type, bytes) => {
    const message = messages(withHeader(type, bytes));
    expect(message.next()).toBe(true);
    decodeAll(message);
  }));
});

test("a valid message with some bytes changed or cut off is read without an error", () => {
  using encoder = new RtnetlinkEncoder();
  const change = fc.tuple(fc.nat(255), fc.nat(255));
  fc.assert(
    fc.property(entry, fc.array(change, { maxLength: 4 }), fc.nat(200), (each, changes, cut) => {
      encoder.clear();
      encoder.entry("set", each, "link" in each ? 7 : 0);
      const bytes = encoder.bytes.slice();
      for (const [at, value] of changes) bytes[16 + at % (bytes.length - 16)] = value;
      const message = messages(bytes.subarray(0, Math.max(0, bytes.length - cut)));
      while (message.next()) decodeAll(message);
    }),
  );
});

test("an attribute that is shorter than its type, or longer than its message, is absent", () => {
  const attributes = new Attributes();
  const bytes = withHeader(1, Uint8Array.of(6, 0, 3, 0, 1, 2, 0, 0, 200, 0, 4, 0, 9, 9, 9, 9));
  const message = messages(bytes);
  message.next();
  attributes.read(message, message.start, message.end);
  expect(attributes.u32(3)).toBeUndefined();
  expect(attributes.be16(3)).toBe(0x0102);
  expect(attributes.has(4)).toBe(false);
  expect(attributes.bytes(63)).toBeUndefined();
});

function messages(bytes: Uint8Array): MessageReader {
  const reader = new MessageReader(bytes);
  reader.reset(bytes.length);
  return reader;
}

function withHeader(type: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(k.nlmsghdr.size + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(k.nlmsghdr.nlmsg_len, bytes.length, true);
  view.setUint16(k.nlmsghdr.nlmsg_type, type, true);
  bytes.set(body, k.nlmsghdr.size);
  return bytes;
}
