import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  checksum,
  decrementTtl,
  destinationOf,
  forwardingVerdict,
  icmpError,
  NETWORK_UNREACHABLE,
  sourceOf,
  TIME_EXCEEDED,
} from "../../../../src/backend/udp/ip_packet.ts";

interface PacketFields {
  readonly words: number;
  readonly payloadBytes: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly fragment: number;
  readonly source: number;
  readonly destination: number;
  readonly id: number;
}

const HOST_A = 0x0a050107; // 10.5.1.7
const HOST_B = 0x0a050209;
const NODE = 0x0a050100;
const UDP = 17;
const ICMP = 1;
const ECHO_REQUEST = 8;
const FIELDS: PacketFields = {
  words: 5,
  payloadBytes: 100,
  ttl: 64,
  protocol: UDP,
  fragment: 0,
  source: HOST_A,
  destination: HOST_B,
  id: 1,
};

/** A packet with a right checksum. */
function packet(fields: Partial<PacketFields> = {}): Uint8Array<ArrayBuffer> {
  const all = { ...FIELDS, ...fields };
  const bytes = new Uint8Array(all.words * 4 + all.payloadBytes);
  const view = viewOf(bytes);
  view.setUint8(0, 0x40 | all.words);
  view.setUint16(2, bytes.length);
  view.setUint16(4, all.id);
  view.setUint16(6, all.fragment);
  view.setUint8(8, all.ttl);
  view.setUint8(9, all.protocol);
  view.setUint32(12, all.source);
  view.setUint32(16, all.destination);
  view.setUint16(10, checksum(bytes.subarray(0, all.words * 4)));
  return bytes;
}

const fields = fc.record<PacketFields>({
  words: fc.integer({ min: 5, max: 15 }),
  payloadBytes: fc.integer({ min: 0, max: 1400 }),
  ttl: fc.integer({ min: 2, max: 255 }),
  protocol: fc.integer({ min: 0, max: 255 }),
  fragment: fc.integer({ min: 0, max: 0xffff }),
  source: fc.integer({ min: 0, max: 0xffffffff }),
  destination: fc.integer({ min: 0, max: 0xffffffff }),
  id: fc.integer({ min: 0, max: 0xffff }),
});

test("the checksum is that of RFC 1071's example", () => {
  const example = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  expect(checksum(example)).toBe(~0xddf2 & 0xffff);
});

test("one hop takes one off the time to live, and the checksum stays right", () => {
  fc.assert(
    fc.property(fields, (some) => {
      const bytes = packet(some);
      const view = viewOf(bytes);
      expect(forwardingVerdict(view, 0, bytes.length)).toBe("forward");
      decrementTtl(view, 0);
      expect(view.getUint8(8)).toBe(some.ttl - 1);
      expect(checksum(bytes.subarray(0, some.words * 4))).toBe(0);
      expect(bytes.subarray(20)).toEqual(packet(some).subarray(20));
    }),
    { numRuns: 2000 },
  );
});

test.each([0, 1])("a packet with time to live %d goes no further", (ttl) => {
  const bytes = packet({ ttl });
  expect(forwardingVerdict(viewOf(bytes), 0, bytes.length)).toBe("expired");
});

test.each<[string, (bytes: Uint8Array) => Uint8Array]>([
  ["shorter than a header", (bytes) => bytes.subarray(0, 19)],
  ["of another version", (bytes) => (bytes[0] = 0x65, bytes)],
  ["with a header of four words", (bytes) => (bytes[0] = 0x44, bytes)],
  ["cut off", (bytes) => bytes.subarray(0, bytes.length - 1)],
  ["shorter than its header says", (bytes) => (bytes[2] = 0, bytes[3] = 19, bytes)],
])("a packet %s is dropped", (_name, change) => {
  const bytes = change(packet());
  expect(forwardingVerdict(viewOf(bytes), 0, bytes.length)).toBe("drop");
});

test("an ICMP error says who and why, and quotes what it is about", () => {
  const bytes = packet({ words: 6, payloadBytes: 40 });
  const error = icmpError({ view: viewOf(bytes), at: 0 }, { ...TIME_EXCEEDED, source: NODE });
  if (error === undefined) throw new Error("there is no error");
  const view = viewOf(error);
  expect(forwardingVerdict(view, 0, error.length)).toBe("forward");
  expect([sourceOf(view, 0), destinationOf(view, 0)]).toEqual([NODE, HOST_A]);
  expect(checksum(error.subarray(0, 20))).toBe(0);
  expect(checksum(error.subarray(20))).toBe(0);
  expect([error[20], error[21]]).toEqual([11, 0]);
  expect(error.subarray(28)).toEqual(bytes);
});

test("an ICMP error is at most 576 bytes long (RFC 1812)", () => {
  const bytes = packet({ payloadBytes: 1400 });
  const error = icmpError({ view: viewOf(bytes), at: 0 }, { ...NETWORK_UNREACHABLE, source: NODE });
  expect(error?.length).toBe(576);
});

test("about an echo request there is an ICMP error, about an ICMP error there is none", () => {
  const about = (type: number) => {
    const bytes = packet({ protocol: ICMP });
    bytes[20] = type;
    return icmpError({ view: viewOf(bytes), at: 0 }, { ...NETWORK_UNREACHABLE, source: NODE });
  };
  expect(about(ECHO_REQUEST)).toBeDefined();
  for (const type of [3, 4, 5, 11, 12]) expect(about(type)).toBeUndefined();
});

test.each<[string, Partial<PacketFields>]>([
  ["a later fragment", { fragment: 185 }],
  ["a packet to a group", { destination: 0xe0000001 }],
  ["a packet to everybody", { destination: 0xffffffff }],
  ["a packet from no host", { source: 0 }],
  ["a packet from this very host", { source: 0x7f000001 }],
  ["an ICMP packet without a type", { protocol: ICMP, payloadBytes: 0 }],
])("about %s there is no ICMP error", (_name, some) => {
  const view = viewOf(packet(some));
  expect(icmpError({ view, at: 0 }, { ...NETWORK_UNREACHABLE, source: NODE })).toBeUndefined();
});

test("no bytes whatever make it crash", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(40), (random, at) => {
      const bytes = Uint8Array.from(random);
      const length = Math.max(0, bytes.length - at);
      const view = viewOf(bytes);
      const verdict = forwardingVerdict(view, Math.min(at, bytes.length), length);
      if (verdict === "drop") return;
      icmpError({ view, at }, { ...TIME_EXCEEDED, source: NODE });
      decrementTtl(view, at);
    }),
    { numRuns: 100_000 },
  );
}, 60_000);

function viewOf(bytes: Uint8Array): DataView<ArrayBuffer> {
  return new DataView(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
}
