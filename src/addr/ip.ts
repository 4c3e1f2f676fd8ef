/**
 * IPv4 and IPv6 addresses as canonical text.
 *
 * An address is a branded string in canonical form (dotted quad, or RFC 5952 for IPv6), so it can
 * be compared with `===`, used as a map key and printed. It is converted to bytes only for the
 * kernel. The family is always a parameter or is derived from the address, never part of a
 * function's name.
 */

export type Ipv4 = string & { readonly __address: 4 };
export type Ipv6 = string & { readonly __address: 6 };
export type IpAddress = Ipv4 | Ipv6;

/** Address family by IP version. */
export type Family = 4 | 6;

export const FAMILIES: readonly Family[] = [4, 6];

/** The number of bits of an address. */
export function addressBits(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** The family of an address or prefix in canonical text. */
export function familyOf(address: string): Family {
  return address.includes(":") ? 6 : 4;
}

/** Go's zero value, which stands for "no IPv4 address" in leases and configurations. */
export const IPV4_UNSPECIFIED = "0.0.0.0" as Ipv4;

/** Parses an address of either family, without zone, port and brackets; `undefined` otherwise. */
export function parseIpAddress(text: string): IpAddress | undefined {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

/** Parses four decimal numbers without leading zeros. */
function parseIpv4(text: string): Ipv4 | undefined {
  let [dots, digits, octet] = [0, 0, 0];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x2e) {
      if (digits === 0 || ++dots > 3) return undefined;
      [digits, octet] = [0, 0];
      continue;
    }
    const isLeadingZero = digits > 0 && octet === 0;
    if (code < 0x30 || code > 0x39 || isLeadingZero) return undefined;
    octet = octet * 10 + code - 0x30;
    digits++;
    if (octet > 255) return undefined;
  }
  return dots === 3 && digits > 0 ? text as Ipv4 : undefined;
}

/** Parses any text form of RFC 4291, section 2.2, and returns the form of RFC 5952. */
function parseIpv6(text: string): Ipv6 | undefined {
  const groups = parseIpv6Groups(text);
  return groups && formatGroups(groups);
}

/** The address as an unsigned integer of 32 or 128 bits. */
export function addressValue(address: IpAddress): bigint {
  if (familyOf(address) === 4) return BigInt(ipv4Number(address as Ipv4));
  const groups = parseIpv6Groups(address) as number[];
  return BigInt(`0x${groups.map((group) => group.toString(16).padStart(4, "0")).join("")}`);
}

/** A dotted quad as an unsigned 32-bit number. */
export function ipv4Number(address: Ipv4): number {
  let value = 0;
  let octet = 0;
  for (let i = 0; i < address.length; i++) {
    const code = address.charCodeAt(i);
    if (code === 0x2e) {
      value = value * 256 + octet;
      octet = 0;
    } else {
      octet = octet * 10 + code - 0x30;
    }
  }
  return value * 256 + octet;
}

/** The address of an unsigned integer. Throws `RangeError` outside of the family's range. */
export function formatAddress(family: Family, value: bigint): IpAddress {
  // Of a negative number, this is -1.
  if (value >> BigInt(addressBits(family)) !== 0n) {
    throw new RangeError(`${value} is not an IPv${family} address`);
  }
  if (family === 4) return formatIpv4(Number(value));
  const hex = value.toString(16).padStart(32, "0");
  const groups: number[] = [];
  for (let i = 0; i < 32; i += 4) groups.push(Number.parseInt(hex.slice(i, i + 4), 16));
  return formatGroups(groups);
}

/** The dotted quad of an unsigned 32-bit number. */
export function formatIpv4(number: number): Ipv4 {
  return `${number >>> 24}.${(number >>> 16) & 255}.${(number >>> 8) & 255}.${
    number & 255
  }` as Ipv4;
}

/** The 4 or 16 bytes of the address in network byte order. */
export function addressBytes(address: IpAddress): Uint8Array {
  if (familyOf(address) === 4) {
    const number = ipv4Number(address as Ipv4);
    return Uint8Array.of(number >>> 24, number >>> 16, number >>> 8, number);
  }
  const groups = parseIpv6Groups(address) as number[];
  return Uint8Array.from(groups.flatMap((group) => [group >>> 8, group & 255]));
}

/** The address of 4 or 16 bytes in network byte order. Throws `RangeError` for another number. */
export function addressFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length === 4) return bytes.join(".") as Ipv4;
  if (bytes.length !== 16) {
    throw new RangeError(`an address has 4 or 16 bytes, not ${bytes.length}`);
  }
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i] as number) << 8 | (bytes[i + 1] as number));
  return formatGroups(groups);
}

/** Whether a text is the unspecified address of either family, the wildcard of a server. */
export function isUnspecified(address: string): boolean {
  return address === IPV4_UNSPECIFIED || address === "::";
}

/** The kind of an address that cannot be one host's; `undefined` for a unicast address. */
export function nonUnicastKind(
  address: IpAddress,
): "unspecified" | "loopback" | "multicast" | "broadcast" | "IPv4-mapped" | undefined {
  if (familyOf(address) === 4) {
    const first = ipv4Number(address as Ipv4) >>> 24;
    if (first === 0) return "unspecified";
    if (first === 127) return "loopback";
    if (first >= 224 && first <= 239) return "multicast";
    return first >= 240 ? "broadcast" : undefined;
  }
  if (address === "::") return "unspecified";
  if (address === "::1") return "loopback";
  if (address.includes(".")) return "IPv4-mapped"; // No other IPv6 address is written like this.
  return address.startsWith("ff") && address.indexOf(":") === 4 ? "multicast" : undefined;
}

/** Link-local: 169.254.0.0/16 (RFC 3927) or fe80::/10 (RFC 4291). */
export function isLinkLocal(address: IpAddress): boolean {
  return familyOf(address) === 4
    ? address.startsWith("169.254.")
    : /^fe[89ab][0-9a-f]:/.test(address);
}

/** RFC 5952: lower case, no leading zeros, the longest run of two or more zero groups as `::`. */
function formatGroups(groups: readonly number[]): Ipv6 {
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (groups[end] === 0) end++;
    if (end - i > bestLength) [best, bestLength] = [i, end - i];
    i = end;
  }
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (isMapped) {
    const [high, low] = [groups[6] as number, groups[7] as number];
    return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}` as Ipv6;
  }
  const hex = groups.map((group) => group.toString(16));
  if (best < 0) return hex.join(":") as Ipv6;
  return `${hex.slice(0, best).join(":")}::${hex.slice(best + bestLength).join(":")}` as Ipv6;
}

/** The eight groups of 16 bits of a text with a colon. */
function parseIpv6Groups(text: string): number[] | undefined {
  let source = text;
  const lastColon = source.lastIndexOf(":");
  if (source.includes(".")) {
    const tail = parseIpv4(source.slice(lastColon + 1));
    if (tail === undefined) return undefined;
    const number = ipv4Number(tail);
    source = `${source.slice(0, lastColon + 1)}${(number >>> 16).toString(16)}:${
      (number & 0xffff).toString(16)
    }`;
  }
  const halves = source.split("::");
  if (halves.length > 2) return undefined;
  const head = splitGroups(halves[0] as string);
  const tail = halves.length === 2 ? splitGroups(halves[1] as string) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  return [...head, ...new Array<number>(missing).fill(0), ...tail];
}

function splitGroups(text: string): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  for (const group of text.split(":")) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    groups.push(Number.parseInt(group, 16));
  }
  return groups;
}

/** An address, or a host name, as the host part of a URL (RFC 3986, section 3.2.2). */
export function urlHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
