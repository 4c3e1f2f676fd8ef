/** `BackendData` of WireGuard nodes, as Go flannel reads and writes it. */

import { mapFamilies, type PerFamily } from "../../addr/family.ts";
import { FAMILIES, type Family, type IpAddress, isLinkLocal } from "../../addr/ip.ts";
import { parsePrefix, type Prefix, prefixContainsAddress } from "../../addr/prefix.ts";
import {
  isLowOrderKey,
  parseWireguardKey,
  type WireguardKey,
  ZERO_KEY,
} from "../../addr/wireguard_key.ts";
import type { Lease } from "../../subnet/lease.ts";
import { quoted } from "../../base/quoting.ts";
import { dataName, InvalidPeerError, jsonMember, peerData } from "../../overlay/peer_lease.ts";

/**
 * "separate": a device for each family; otherwise one for both, over the family that the mode
 * names.
 */
export type Mode = "separate" | "auto" | "ipv4" | "ipv6";

export interface PeerData {
  readonly publicKey: WireguardKey;
  /** Absent in the leases of old versions of Go flannel. */
  readonly port?: number;
}

/**
 * The data for each of these families of which the lease has a subnet. Throws `InvalidPeerError`.
 */
export function readPeerData(
  peer: Lease,
  families: readonly Family[],
  ownKey: WireguardKey,
): PerFamily<PeerData> {
  const wanted = mapFamilies(peer.subnets, (_, family) => families.includes(family) || undefined);
  return mapFamilies(wanted, (_, family) => readFamily(peer, family, ownKey));
}

/**
 * The data of a node with one device for both families. Its lease carries the same key twice.
 *
 * Go flannel writes the port of an IPv6 device, ListenPortV6, into `BackendV6Data` even if there is
 * no such device; it listens on ListenPort then. So the port of `BackendData` takes precedence, and
 * a port equal to `portV6` is ignored.
 */
export function mergePeerData(data: PerFamily<PeerData>, portV6: number): PeerData {
  const { 4: ipv4, 6: ipv6 } = data;
  if (ipv4 !== undefined && ipv6 !== undefined && ipv4.publicKey !== ipv6.publicKey) {
    throw new InvalidPeerError(
      `its BackendData has the PublicKey ${ipv4.publicKey}, but its BackendV6Data has ` +
        `${ipv6.publicKey}; a node with one device has one key`,
    );
  }
  const one = ipv4 ?? ipv6 as PeerData;
  if (ipv4 !== undefined || one.port !== portV6) return one;
  return { publicKey: one.publicKey };
}

/**
 * The family over which a node with the addresses `own` reaches one with `peer`: the mode's, or
 * with `auto` the one that is more likely to work.
 */
export function underlayFamily(
  mode: Exclude<Mode, "separate">,
  { own, peer }: { readonly own: PerFamily<IpAddress>; readonly peer: PerFamily<IpAddress> },
): Family {
  if (mode === "ipv4") return 4;
  if (mode === "ipv6") return 6;
  const shared = FAMILIES.filter((family) =>
    own[family] !== undefined && peer[family] !== undefined
  );
  if (shared.length === 1) return shared[0] as Family;
  // A node with a private IPv4 address can probably reach a public one by NAT; IPv6 has none.
  if (isPublic(peer[4])) return 4;
  return isPublic(peer[6]) && isPublic(own[6]) ? 6 : 4;
}

const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"] // RFC 1918, RFC 4193
  .map((text) => parsePrefix(text) as Prefix);

function isPublic(address: IpAddress | undefined): boolean {
  return address !== undefined && !isLinkLocal(address) &&
    !PRIVATE.some((prefix) => prefixContainsAddress(prefix, address));
}

function readFamily(peer: Lease, family: Family, ownKey: WireguardKey): PeerData {
  const name = dataName(family);
  const data = peerData(peer, family);
  const text = jsonMember(data, "PublicKey");
  const publicKey = typeof text === "string" ? parseWireguardKey(text) : undefined;
  if (publicKey === undefined || publicKey === ZERO_KEY) {
    throw new InvalidPeerError(`its ${name} has an invalid PublicKey ${quoted(text)}`);
  }
  if (isLowOrderKey(publicKey)) {
    throw new InvalidPeerError(
      `its ${name} has the PublicKey ${publicKey}, a point of low order that no private key has`,
    );
  }
  if (publicKey === ownKey) {
    throw new InvalidPeerError(
      `its ${name} has this node's own PublicKey ${publicKey}: it is a previous lease of this ` +
        "node, or one node has a copy of the other's key file",
    );
  }
  const port = jsonMember(data, "Port") ?? 0;
  if (typeof port !== "number" || !Number.isInteger(port) || port < 0 || port > 65535) {
    throw new InvalidPeerError(`its ${name} has an invalid Port ${quoted(port)}`);
  }
  return { publicKey, ...(port === 0 ? {} : { port }) };
}
