/** WireGuard keys (Curve25519, RFC 7748) as text: 32 bytes in base64 (RFC 4648, section 4). */

export type WireguardKey = string & { readonly __wireguardKey: true };

/** 32 zero bytes, which mean "no key" to the kernel. */
export const ZERO_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" as WireguardKey;

/** Parses the base64 form of exactly 32 bytes, 44 characters; `undefined` for other text. */
export function parseWireguardKey(text: string): WireguardKey | undefined {
  if (!/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text)) return undefined;
  return text as WireguardKey;
}

/**
 * Whether a public key is one of the few points of low order, with which the shared secret is zero
 * (RFC 7748, section 7; https://cr.yp.to/ecdh.html). It belongs to no private key, and WireGuard
 * never establishes a session with it.
 */
export function isLowOrderKey(key: WireguardKey): boolean {
  const value = wireguardKeyBytes(key).reduceRight((sum, byte) => sum << 8n | BigInt(byte), 0n);
  // X25519 ignores the highest bit; some implementations do not.
  const coordinates = [value & (1n << 255n) - 1n, value];
  return coordinates.some((coordinate) => LOW_ORDER.has(coordinate % P));
}

const P = (1n << 255n) - 19n;
const LOW_ORDER: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  P - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
]);

/** The 32 bytes of the key. */
export function wireguardKeyBytes(key: WireguardKey): Uint8Array {
  return Uint8Array.fromBase64(key);
}

/** The key of 32 bytes. Throws `RangeError` for another number of bytes. */
export function wireguardKeyFromBytes(bytes: Uint8Array): WireguardKey {
  if (bytes.length !== 32) {
    throw new RangeError(`a WireGuard key has 32 bytes, not ${bytes.length}`);
  }
  return bytes.toBase64() as WireguardKey;
}
