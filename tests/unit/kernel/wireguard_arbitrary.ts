/** Random WireGuard settings. */

import fc from "fast-check";
import { addressFromBytes } from "../../../src/addr/ip.ts";
import { type Prefix, prefixFromBytes } from "../../../src/addr/prefix.ts";
import { wireguardKeyFromBytes, ZERO_KEY } from "../../../src/addr/wireguard_key.ts";
import type { DeviceChange, PeerChange } from "../../../src/kernel/wireguard/wireguard_driver.ts";

export const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(wireguardKeyFromBytes)
  .filter((key) => key !== ZERO_KEY);

const addressBytes = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
);
const port = fc.nat(65_535);
const endpoint = fc.record({ address: addressBytes.map(addressFromBytes), port });
const prefix = addressBytes.chain((bytes) =>
  fc.nat(bytes.length * 8).map((length) => prefixFromBytes(bytes, length))
);

export type PeerSetting = PeerChange & { readonly op: "set" };

export const peerSetting: fc.Arbitrary<PeerSetting> = fc.record(
  {
    op: fc.constant("set" as const),
    publicKey: key,
    presharedKey: key,
    endpoint,
    keepaliveSeconds: port,
    updateOnly: fc.boolean(),
    allowedIps: fc.uniqueArray(prefix, { maxLength: 20 }),
    replaceAllowedIps: fc.boolean(),
  },
  {
    requiredKeys: [
      "op",
      "publicKey",
      "presharedKey",
      "keepaliveSeconds",
      "updateOnly",
      "allowedIps",
      "replaceAllowedIps",
    ],
  },
) as fc.Arbitrary<PeerSetting>;

export const deviceChange: fc.Arbitrary<DeviceChange> = fc.record({
  privateKey: key,
  listenPort: port,
  peers: fc.uniqueArray(
    fc.oneof(peerSetting, fc.record({ op: fc.constant("remove" as const), publicKey: key })),
    { maxLength: 60, selector: ({ publicKey }) => publicKey },
  ),
}, { requiredKeys: [] }) as fc.Arbitrary<DeviceChange>;

/** That many different prefixes, of both families. */
export function prefixes(count: number): Prefix[] {
  return Array.from(
    { length: count },
    (_, i) =>
      i % 2 === 0 ? prefixFromBytes(Uint8Array.of(10, i >> 8, i & 255, 0), 24) : prefixFromBytes(
        Uint8Array.of(0xfd, 0, i >> 8, i & 255, ...new Array<number>(12).fill(0)),
        64,
      ),
  );
}
