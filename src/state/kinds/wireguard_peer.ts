/** A peer of a WireGuard device (linux/wireguard.h, WGPEER_A_*). */

import { familyOf, type IpAddress } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import type { WireguardKey } from "../../addr/wireguard_key.ts";
import { type EntryKind, ON_DEVICE, type ResourceKey, STAGE } from "./entry_kind.ts";

export interface WireguardPeer {
  readonly kind: "wireguard-peer";
  readonly link: string;
  readonly publicKey: WireguardKey;
  /** Secret: never part of a text. */
  readonly presharedKey?: WireguardKey;
  readonly endpoint?: WireguardEndpoint;
  /** Seconds between keepalives; 0 is none. */
  readonly keepaliveSeconds: number;
  /** Source prefixes accepted from the peer and routed to it, sorted as text. */
  readonly allowedIps: readonly Prefix[];
  /**
   * Only in a peer as read: its session is alive (a handshake less than 180 s ago), with an
   * endpoint that the kernel has learned, which is then as good as the desired one.
   */
  readonly roamed?: true;
}

/** A UDP address. */
export interface WireguardEndpoint {
  readonly address: IpAddress;
  readonly port: number;
}

export const wireguardPeerKind: EntryKind<WireguardPeer> = {
  ...ON_DEVICE,
  key: ({ publicKey, link }) => `wireguard-peer ${publicKey} ${link}` as ResourceKey,
  text: peerText,
  isSame: isSamePeer,
  stage: STAGE.neighbour,
  dump: { extent: "devices", when: "requested" },
};

/** `192.0.2.1:51820`, `[2001:db8::1]:51820`. */
export function endpointText({ address, port }: WireguardEndpoint): string {
  return familyOf(address) === 4 ? `${address}:${port}` : `[${address}]:${port}`;
}

/** An endpoint that the kernel learned from a peer with a live session is kept. */
function isSamePeer(desired: WireguardPeer, actual: WireguardPeer): boolean {
  const isSameEndpoint = desired.endpoint?.address === actual.endpoint?.address &&
    desired.endpoint?.port === actual.endpoint?.port;
  return desired.link === actual.link && desired.publicKey === actual.publicKey &&
    desired.presharedKey === actual.presharedKey &&
    desired.keepaliveSeconds === actual.keepaliveSeconds &&
    desired.allowedIps.join() === actual.allowedIps.join() &&
    (isSameEndpoint || actual.roamed === true);
}

/** As `wg` shows it, without the pre-shared key. */
function peerText(peer: WireguardPeer): string {
  const words = [`wireguard ${peer.link} peer ${peer.publicKey}`];
  if (peer.presharedKey !== undefined) words.push("preshared-key (hidden)");
  if (peer.endpoint !== undefined) words.push(`endpoint ${endpointText(peer.endpoint)}`);
  if (peer.keepaliveSeconds > 0) words.push(`persistent-keepalive ${peer.keepaliveSeconds}`);
  words.push(`allowed-ips ${peer.allowedIps.join(",") || "(none)"}`);
  return words.join(" ");
}
