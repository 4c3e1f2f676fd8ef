/** Pure functions between what a driver reads of a device and its entries. */

import { ZERO_KEY } from "../../addr/wireguard_key.ts";
import type { Resource, WireguardDevice, WireguardPeer } from "../../state/resource.ts";
import { endpointText } from "../../state/resource_text.ts";
import { equalResources } from "../../state/same_resource.ts";
import type { PeerChange, WireguardDeviceState, WireguardPeerState } from "./wireguard_driver.ts";

/**
 * The endpoint that this process assigned to a peer, as text: `NO_ENDPOINT` if it assigned none,
 * `undefined` if it did not create the peer.
 */
export type AssignedEndpoint = string | undefined;

const NO_ENDPOINT = "";
/** A session is dead after this time; an active peer renews it earlier (REJECT_AFTER_TIME). */
const SESSION_MS = 180_000;

/** The entry of the device itself; `undefined` as long as it has no key. */
export function deviceResource(
  link: string,
  reading: WireguardDeviceState,
): WireguardDevice | undefined {
  const { privateKey, listenPort } = reading;
  return privateKey && { kind: "wireguard-device", link, privateKey, listenPort };
}

/** `nowMs` is wall-clock time, like the times of handshakes. */
export function peerResource(
  link: string,
  reading: WireguardPeerState,
  assigned: AssignedEndpoint,
  nowMs: number,
): WireguardPeer {
  const { publicKey, presharedKey, endpoint, keepaliveSeconds, lastHandshakeMs } = reading;
  const isInTouch = lastHandshakeMs > 0 && nowMs - lastHandshakeMs < SESSION_MS;
  // If none was asked for, any endpoint that WireGuard learned is right.
  const roamed = endpoint !== undefined &&
    (assigned === NO_ENDPOINT || isInTouch && endpointText(endpoint) !== assigned);
  return {
    kind: "wireguard-peer",
    link,
    publicKey,
    ...(presharedKey === undefined ? {} : { presharedKey }),
    ...(endpoint === undefined ? {} : { endpoint }),
    keepaliveSeconds,
    allowedIps: reading.allowedIps,
    ...(roamed ? { roamed } : {}),
  };
}

/**
 * The change from what is known of a peer to the desired one. It leaves out what would disturb a
 * correct peer: replaced allowed IPs are gone for a moment even if they are the same, and setting
 * the assigned endpoint again would discard a learned one.
 */
export function peerChange(
  desired: WireguardPeer,
  actual: WireguardPeer | undefined,
  assigned: AssignedEndpoint,
): PeerChange {
  const { publicKey, presharedKey, endpoint, keepaliveSeconds, allowedIps } = desired;
  const keepsEndpoint = endpoint === undefined ||
    actual?.roamed === true && assigned === endpointText(endpoint);
  const before = new Set(actual?.allowedIps);
  const added = allowedIps.filter((prefix) => !before.has(prefix));
  const isSuperset = allowedIps.length - added.length === before.size;
  return {
    op: "set",
    publicKey,
    presharedKey: presharedKey ?? ZERO_KEY,
    ...(keepsEndpoint ? {} : { endpoint }),
    keepaliveSeconds,
    updateOnly: actual !== undefined,
    allowedIps: actual !== undefined && isSuperset ? added : allowedIps,
    replaceAllowedIps: actual === undefined || !isSuperset,
  };
}

/** The peer after `change`, which was made to reach `desired`. */
export function changedPeer(
  desired: WireguardPeer,
  actual: WireguardPeer | undefined,
  change: PeerChange,
): WireguardPeer {
  if (change.op === "remove" || change.endpoint !== undefined || actual?.endpoint === undefined) {
    return desired;
  }
  return { ...desired, endpoint: actual.endpoint, roamed: true };
}

export function assignedEndpoint({ endpoint }: WireguardPeer): string {
  return endpoint === undefined ? NO_ENDPOINT : endpointText(endpoint);
}

/** Whether two readings of an entry are equal, also in `roamed`, which `equalResources` ignores. */
export function sameReading(a: Resource, b: Resource): boolean {
  const roamed = (one: Resource) => one.kind === "wireguard-peer" && one.roamed === true;
  return roamed(a) === roamed(b) && equalResources(a, b);
}
