/** WireGuard's key pairs: X25519 (RFC 7748). */

import { createPrivateKey, createPublicKey } from "node:crypto";
import {
  type WireguardKey,
  wireguardKeyBytes,
  wireguardKeyFromBytes,
} from "../../addr/wireguard_key.ts";

/** What precedes the 32 bytes of an X25519 private key in its PKCS #8 form (RFC 8410 section 7). */
const PKCS8_PREFIX = Uint8Array.fromHex("302e020100300506032b656e04220420");

/** The private key that 32 random bytes make. */
export function privateKeyFrom(random: Uint8Array): WireguardKey {
  return clampedKey(wireguardKeyFromBytes(random));
}

/**
 * The private key as the kernel holds it: it sets and clears the bits that RFC 7748 section 5 fixes,
 * and shows the result. The public key is the same.
 */
export function clampedKey(privateKey: WireguardKey): WireguardKey {
  const bytes = wireguardKeyBytes(privateKey);
  bytes[0] = (bytes[0] as number) & 0xf8;
  bytes[31] = (bytes[31] as number) & 0x7f | 0x40;
  return wireguardKeyFromBytes(bytes);
}

/** The key that other nodes know the owner of this private key by. */
export function publicKeyOf(privateKey: WireguardKey): WireguardKey {
  const pkcs8 = Buffer.concat([PKCS8_PREFIX, wireguardKeyBytes(privateKey)]);
  const secret = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  const spki = createPublicKey(secret).export({ format: "der", type: "spki" });
  return wireguardKeyFromBytes(new Uint8Array(spki.subarray(-32)));
}
