/** IEEE 802 MAC addresses (EUI-48) as canonical text: six lower-case hexadecimal octets with colons. */

export type MacAddress = string & { readonly __mac: true };

/** Reads `c6:d2:32:6f:8f:44` or `C6-D2-…`; `undefined` if the text is not six octets. */
export function parseMacAddress(text: string): MacAddress | undefined {
  if (!/^[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(\1[0-9a-fA-F]{2}){4}$/.test(text)) return undefined;
  return text.toLowerCase().replaceAll("-", ":") as MacAddress;
}

/** Six bytes. */
export function macBytes(mac: MacAddress): Uint8Array {
  return Uint8Array.from(mac.split(":"), (octet) => Number.parseInt(octet, 16));
}

/** Reads six bytes; throws `RangeError` for another length. */
export function macFromBytes(bytes: Uint8Array): MacAddress {
  if (bytes.length !== 6) throw new RangeError(`a MAC address has 6 bytes, not ${bytes.length}`);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":") as MacAddress;
}

/**
 * A locally administered unicast address (IEEE 802: bit 1 of the first octet set, bit 0 clear)
 * made of six random bytes.
 */
export function localMac(random: Uint8Array): MacAddress {
  const bytes = random.slice(0, 6);
  bytes[0] = (bytes[0] as number) & 0xfe | 0x02;
  return macFromBytes(bytes);
}

/** `undefined` if the address can belong to one device; otherwise what it is instead. */
export function nonUnicastMacKind(mac: MacAddress): "zero" | "multicast" | undefined {
  if (mac === "00:00:00:00:00:00") return "zero";
  return Number.parseInt(mac.slice(0, 2), 16) & 1 ? "multicast" : undefined;
}
