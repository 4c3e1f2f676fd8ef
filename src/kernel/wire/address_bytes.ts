/** Converts addresses to bytes without allocating, for the thousands of messages of a batch. */

import { addressBytes, type IpAddress } from "../../addr/ip.ts";
import type { MacAddress } from "../../addr/mac.ts";

/**
 * Writes an address in network byte order at the start of `target`; returns its length, 4 or 16.
 */
export function writeAddress(address: IpAddress, target: Uint8Array): 4 | 16 {
  let at = 0;
  let octet = 0;
  for (let i = 0; i < address.length; i++) {
    const code = address.charCodeAt(i);
    if (code === DOT) {
      target[at++] = octet;
      octet = 0;
    } else if (code >= ZERO && code <= NINE && at < 4) {
      octet = octet * 10 + code - ZERO;
    } else {
      return writeIpv6(address, target);
    }
  }
  target[at] = octet;
  return 4;
}

/** Writes six octets at the start of `target`. */
export function writeMac(mac: MacAddress, target: Uint8Array): void {
  for (let i = 0; i < 6; i++) {
    target[i] = hexDigit(mac.charCodeAt(i * 3)) * 16 + hexDigit(mac.charCodeAt(i * 3 + 1));
  }
}

const DOT = 0x2e;
const COLON = 0x3a;
const ZERO = 0x30;
const NINE = 0x39;

/** Reads RFC 5952 text: groups from the front up to `::`, the rest from the back. */
function writeIpv6(address: IpAddress, target: Uint8Array): 16 {
  if (address.includes(".")) {
    target.set(addressBytes(address));
    return 16;
  }
  target.fill(0, 0, 16);
  const gap = address.indexOf("::");
  const head = gap < 0 ? address.length : gap;
  for (let i = 0, at = 0; i < head; at += 2) {
    let group = 0;
    for (; i < head && address.charCodeAt(i) !== COLON; i++) {
      group = group * 16 + hexDigit(address.charCodeAt(i));
    }
    i++;
    target[at] = group >> 8;
    target[at + 1] = group & 255;
  }
  if (gap < 0) return 16;
  for (let i = address.length - 1, at = 14; i >= gap + 2; at -= 2) {
    let group = 0;
    for (let shift = 0; i >= gap + 2 && address.charCodeAt(i) !== COLON; i--, shift += 4) {
      group |= hexDigit(address.charCodeAt(i)) << shift;
    }
    i--;
    target[at] = group >> 8;
    target[at + 1] = group & 255;
  }
  return 16;
}

/** A lower-case hexadecimal digit. */
function hexDigit(code: number): number {
  return code <= NINE ? code - ZERO : code - 0x57;
}
