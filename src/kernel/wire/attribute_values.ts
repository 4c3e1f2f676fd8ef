/** Addresses in the payload of attributes. */

import { addressFromBytes, type IpAddress } from "../../addr/ip.ts";
import type { MacAddress } from "../../addr/mac.ts";

/** An address in network byte order as text; `undefined` for any other length than 4 or 16. */
export function addressText(bytes: Uint8Array | undefined): IpAddress | undefined {
  if (bytes === undefined || bytes.length !== 4 && bytes.length !== 16) return undefined;
  return addressFromBytes(bytes);
}

/** Six octets as text; `undefined` for any other length (a tunnel has an IP address there). */
export function macText(bytes: Uint8Array | undefined): MacAddress | undefined {
  if (bytes === undefined || bytes.length !== 6) return undefined;
  let text = HEX[bytes[0] as number] as string;
  for (let i = 1; i < 6; i++) text += `:${HEX[bytes[i] as number]}`;
  return text as MacAddress;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
