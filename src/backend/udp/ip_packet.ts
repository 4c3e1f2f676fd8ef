/** How to forward an IPv4 packet (RFC 791), and the ICMP error (RFC 792) for its sender. */

/** The checks of a router (RFC 1812 section 5.2.2), except the checksum: the kernel checks that. */
export type Verdict = "forward" | "expired" | "drop";

/**
 * Whether to forward the packet of `length` bytes at `at`. Its time to live has to allow one more
 * hop: each proxy counts as one, as in Go flannel.
 */
export function forwardingVerdict(view: DataView, at: number, length: number): Verdict {
  if (length < HEADER_BYTES || view.getUint8(at) >> 4 !== 4) return "drop";
  const headerBytes = headerLength(view, at);
  const totalBytes = view.getUint16(at + TOTAL_LENGTH);
  if (headerBytes < HEADER_BYTES || totalBytes < headerBytes || totalBytes > length) return "drop";
  return view.getUint8(at + TTL) <= 1 ? "expired" : "forward";
}

export function destinationOf(view: DataView, at: number): number {
  return view.getUint32(at + DESTINATION);
}

export function sourceOf(view: DataView, at: number): number {
  return view.getUint32(at + SOURCE);
}

/** Decrements the time to live and updates the checksum (RFC 1624, RFC 1141). */
export function decrementTtl(view: DataView, at: number): void {
  view.setUint8(at + TTL, view.getUint8(at + TTL) - 1);
  const sum = view.getUint16(at + CHECKSUM) + 0x100;
  view.setUint16(at + CHECKSUM, (sum & 0xffff) + (sum >> 16));
}

export const TIME_EXCEEDED = { type: 11, code: 0 } as const;
export const NETWORK_UNREACHABLE = { type: 3, code: 0 } as const;

/**
 * The ICMP error for the sender of a dropped packet; `undefined` where RFC 1812 section 4.3.2.7
 * forbids one: about ICMP errors, later fragments, and packets whose source or destination is not
 * one host.
 */
export function icmpError(
  offender: { readonly view: DataView; readonly at: number },
  { type, code, source }: { readonly type: number; readonly code: number; readonly source: number },
): Uint8Array<ArrayBuffer> | undefined {
  const { view, at } = offender;
  const headerBytes = headerLength(view, at);
  const totalBytes = view.getUint16(at + TOTAL_LENGTH);
  if ((view.getUint16(at + FRAGMENT) & FRAGMENT_OFFSET_MASK) !== 0) return undefined;
  if (!isOneHost(sourceOf(view, at)) || !isOneHost(destinationOf(view, at))) return undefined;
  if (view.getUint8(at + PROTOCOL) === IPPROTO_ICMP) {
    const isQuery = totalBytes > headerBytes && ICMP_QUERIES.has(view.getUint8(at + headerBytes));
    if (!isQuery) return undefined;
  }
  const quotedBytes = Math.min(totalBytes, MAX_ERROR_BYTES - HEADER_BYTES - ICMP_HEADER_BYTES);
  const packet = new Uint8Array(HEADER_BYTES + ICMP_HEADER_BYTES + quotedBytes);
  const out = new DataView(packet.buffer);
  out.setUint8(0, 0x45); // version 4, five words
  out.setUint16(TOTAL_LENGTH, packet.length);
  out.setUint8(TTL, ERROR_TTL);
  out.setUint8(PROTOCOL, IPPROTO_ICMP);
  out.setUint32(SOURCE, source);
  out.setUint32(DESTINATION, sourceOf(view, at));
  out.setUint16(CHECKSUM, checksum(packet.subarray(0, HEADER_BYTES)));
  out.setUint8(HEADER_BYTES, type);
  out.setUint8(HEADER_BYTES + 1, code);
  packet.set(new Uint8Array(view.buffer, view.byteOffset + at, quotedBytes), HEADER_BYTES + 8);
  out.setUint16(HEADER_BYTES + 2, checksum(packet.subarray(HEADER_BYTES)));
  return packet;
}

/** The Internet checksum (RFC 1071); 0 over bytes that contain a correct one. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i] as number) << 8 | (bytes[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

// Offsets in the header.
const TOTAL_LENGTH = 2;
const FRAGMENT = 6;
const TTL = 8;
const PROTOCOL = 9;
const CHECKSUM = 10;
const SOURCE = 12;
const DESTINATION = 16;

const HEADER_BYTES = 20; // without options
const ICMP_HEADER_BYTES = 8;
const FRAGMENT_OFFSET_MASK = 0x1fff;
const IPPROTO_ICMP = 1;
/** Echo, timestamp, information and address mask, with their replies; the rest are errors. */
const ICMP_QUERIES: ReadonlySet<number> = new Set([0, 8, 13, 14, 15, 16, 17, 18]);
/** RFC 1812 section 4.3.2.3. */
const MAX_ERROR_BYTES = 576;
const ERROR_TTL = 64;

function headerLength(view: DataView, at: number): number {
  return (view.getUint8(at) & 0xf) * 4;
}

/** Neither this network, nor loopback, nor multicast, nor reserved, nor broadcast. */
function isOneHost(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}
