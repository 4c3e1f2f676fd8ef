/** IP prefixes (RFC 4632, RFC 4291) as canonical text: `address/length` without host bits. */

import {
  addressBits,
  addressFromBytes,
  addressValue,
  familyOf,
  formatAddress,
  formatIpv4,
  type IpAddress,
  type Ipv4,
  ipv4Number,
  parseIpAddress,
} from "./ip.ts";

export type Prefix = string & { readonly __prefix: true };

/** The first and last address of a prefix as unsigned integers of 32 or 128 bits. */
export interface PrefixRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** Parses `address/length`; `undefined` for other text, or if a host bit is set. */
export function parsePrefix(text: string): Prefix | undefined {
  const parts = splitPrefix(text);
  if (parts === undefined) return undefined;
  const prefix = makePrefix(parts.address, parts.length);
  return prefixAddress(prefix) === parts.address ? prefix : undefined;
}

/** Parses `address/length` and clears the host bits; `undefined` for other text. */
export function parsePrefixMasked(text: string): Prefix | undefined {
  const parts = splitPrefix(text);
  return parts && makePrefix(parts.address, parts.length);
}

/** Splits `address/length` and keeps the host bits, as in the interface address `10.5.72.1/24`. */
export function splitPrefix(text: string): { address: IpAddress; length: number } | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const address = parseIpAddress(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (address === undefined || !/^(0|[1-9]\d{0,2})$/.test(lengthText)) return undefined;
  const length = Number(lengthText);
  return length <= addressBits(familyOf(address)) ? { address, length } : undefined;
}

/**
 * The prefix of this length that contains the address. Throws `RangeError` for an invalid length.
 */
export function makePrefix(address: IpAddress, length: number): Prefix {
  const family = familyOf(address);
  const bits = addressBits(family);
  if (!Number.isInteger(length) || length < 0 || length > bits) {
    throw new RangeError(`/${length} is not an IPv${family} prefix length`);
  }
  if (length === bits) return `${address}/${length}` as Prefix;
  if (family === 4) {
    const mask = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
    const network = (ipv4Number(address as Ipv4) & mask) >>> 0;
    return `${formatIpv4(network)}/${length}` as Prefix;
  }
  const shift = BigInt(bits - length);
  return `${formatAddress(6, addressValue(address) >> shift << shift)}/${length}` as Prefix;
}

/** The prefix that contains only this address, a /32 or /128. */
export function hostPrefix(address: IpAddress): Prefix {
  return makePrefix(address, addressBits(familyOf(address)));
}

/**
 * As `makePrefix`, of an address of 4 or 16 bytes in network byte order. It uses no big integers,
 * because a kernel table may have tens of thousands of prefixes. Throws `RangeError`.
 */
export function prefixFromBytes(bytes: Uint8Array, length: number): Prefix {
  if (!Number.isInteger(length) || length < 0 || length > bytes.length * 8) {
    throw new RangeError(`/${length} is not a prefix length of ${bytes.length} bytes`);
  }
  const masked = bytes.slice();
  const whole = length >> 3;
  if (whole < masked.length) {
    masked[whole] = (masked[whole] as number) & 0xff00 >> (length & 7);
    masked.fill(0, whole + 1);
  }
  return `${addressFromBytes(masked)}/${length}` as Prefix;
}

/** The first address of the prefix. */
export function prefixAddress(prefix: Prefix): IpAddress {
  return prefix.slice(0, prefix.indexOf("/")) as IpAddress;
}

export function prefixLength(prefix: Prefix): number {
  return Number(prefix.slice(prefix.indexOf("/") + 1));
}

export function prefixRange(prefix: Prefix): PrefixRange {
  const first = addressValue(prefixAddress(prefix));
  const hostBits = BigInt(addressBits(familyOf(prefix)) - prefixLength(prefix));
  return { first, last: first | ((1n << hostBits) - 1n) };
}

/** Whether `outer` contains each address of `inner`; false for prefixes of different families. */
export function prefixContains(outer: Prefix, inner: Prefix): boolean {
  const length = prefixLength(outer);
  return prefixLength(inner) >= length && makePrefix(prefixAddress(inner), length) === outer;
}

export function prefixContainsAddress(prefix: Prefix, address: IpAddress): boolean {
  return familyOf(prefix) === familyOf(address) &&
    makePrefix(address, prefixLength(prefix)) === prefix;
}

export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  return prefixContains(a, b) || prefixContains(b, a);
}
