/** WireGuard's key pairs: X25519 (RFC 7748). */

import { createPrivateKey, createPublicKey } from "node:crypto";
import {
  type WireguardKey,
  wireguardKeyBytes,
  wireguardKeyFromBytes,
} from "../../addr/wireguard_key.ts";

/** Precedes the 32 bytes of an X25519 private key in PKCS #8 (RFC 8410 section 7). */
const PKCS8_PREFIX = Uint8Array.fromHex("302e020100300506032b656e04220420");

/** A private key from 32 random bytes. */
export function privateKeyFrom(random: Uint8Array): WireguardKey {
  return clampedKey(wireguardKeyFromBytes(random));
}

/**
 * The private key as the kernel returns it, which sets and clears the bits that RFC 7748 section 5
 * fixes. The public key is the same.
 */
export function clampedKey(privateKey: WireguardKey): WireguardKey {
  const bytes = wireguardKeyBytes(privateKey);
  bytes[0] = (bytes[0] as number) & 0xf8;
  bytes[31] = (bytes[31] as number) & 0x7f | 0x40;
  return wireguardKeyFromBytes(bytes);
}

/** The key by which other nodes know the owner of this private key. */
export function publicKeyOf(privateKey: WireguardKey): WireguardKey {
  const pkcs8 = Buffer.concat([PKCS8_PREFIX, wireguardKeyBytes(privateKey)]);
  const secret = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  const spki = createPublicKey(secret).export({ format: "der", type: "spki" });
  return wireguardKeyFromBytes(new Uint8Array(spki.subarray(-32)));
}
