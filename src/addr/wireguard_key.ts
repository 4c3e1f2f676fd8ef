/** WireGuard keys (Curve25519, RFC 7748) as canonical text: 32 bytes in base64 (RFC 4648 section 4). */

export type WireguardKey = string & { readonly __wireguardKey: true };

/** 32 zeros: what the kernel shows and takes for "no key". */
export const ZERO_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" as WireguardKey;

/** Reads 44 characters of base64; `undefined` if the text is not exactly 32 bytes. */
export function parseWireguardKey(text: string): WireguardKey | undefined {
  if (!/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text)) return undefined;
  return text as WireguardKey;
}

/** 32 bytes. */
export function wireguardKeyBytes(key: WireguardKey): Uint8Array {
  return Uint8Array.fromBase64(key);
}

/** Reads 32 bytes; throws `RangeError` for another length. */
export function wireguardKeyFromBytes(bytes: Uint8Array): WireguardKey {
  if (bytes.length !== 32) {
    throw new RangeError(`a WireGuard key has 32 bytes, not ${bytes.length}`);
  }
  return bytes.toBase64() as WireguardKey;
}
