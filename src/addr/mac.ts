/** MAC addresses (IEEE 802, EUI-48) as canonical text: `c6:d2:32:6f:8f:44`, in lower case. */

export type MacAddress = string & { readonly __mac: true };

/** Parses `c6:d2:32:6f:8f:44` or `C6-D2-32-6F-8F-44`; `undefined` for other text. */
export function parseMacAddress(text: string): MacAddress | undefined {
  if (!/^[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(\1[0-9a-fA-F]{2}){4}$/.test(text)) return undefined;
  return text.toLowerCase().replaceAll("-", ":") as MacAddress;
}

/** The six bytes of the address. */
export function macBytes(mac: MacAddress): Uint8Array {
  return Uint8Array.from(mac.split(":"), (octet) => Number.parseInt(octet, 16));
}

/** The address of six bytes. Throws `RangeError` for another number of bytes. */
export function macFromBytes(bytes: Uint8Array): MacAddress {
  if (bytes.length !== 6) throw new RangeError(`a MAC address has 6 bytes, not ${bytes.length}`);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":") as MacAddress;
}

/**
 * A locally administered unicast address (IEEE 802: bit 1 of the first octet is set, bit 0 is
 * clear) from six random bytes.
 */
export function localMac(random: Uint8Array): MacAddress {
  const bytes = random.slice(0, 6);
  bytes[0] = (bytes[0] as number) & 0xfe | 0x02;
  return macFromBytes(bytes);
}

/** The kind of an address that cannot belong to one device; `undefined` for a unicast address. */
export function nonUnicastMacKind(mac: MacAddress): "zero" | "multicast" | undefined {
  if (mac === "00:00:00:00:00:00") return "zero";
  return Number.parseInt(mac, 16) & 1 ? "multicast" : undefined;
}
