/** Between a device as it is read and the entries that others know: pure. */

import { ZERO_KEY } from "../../addr/wireguard_key.ts";
import type { Resource, WireguardDevice, WireguardPeer } from "../../state/resource.ts";
import { endpointText } from "../../state/resource_text.ts";
import { equalResources } from "../../state/same_resource.ts";
import type { PeerChange, WireguardDeviceState, WireguardPeerState } from "./wireguard_driver.ts";

/**
 * The endpoint that this process gave a peer, as text: `NO_ENDPOINT` if it gave it none, `undefined`
 * if it did not make the peer.
 */
export type GivenEndpoint = string | undefined;

const NO_ENDPOINT = "";
/** After so long a session is dead, and a peer in touch has long renewed it (REJECT_AFTER_TIME). */
const SESSION_MS = 180_000;

/** The entry of the device itself; one that has no key yet is none. */
export function deviceResource(
  link: string,
  reading: WireguardDeviceState,
): WireguardDevice | undefined {
  const { privateKey, listenPort } = reading;
  return privateKey && { kind: "wireguard-device", link, privateKey, listenPort };
}

/** `nowMs` is of the wall clock, as are the times of handshakes. */
export function peerResource(
  link: string,
  reading: WireguardPeerState,
  given: GivenEndpoint,
  nowMs: number,
): WireguardPeer {
  const { publicKey, presharedKey, endpoint, keepaliveSeconds, lastHandshakeMs } = reading;
  const isInTouch = lastHandshakeMs > 0 && nowMs - lastHandshakeMs < SESSION_MS;
  // Whoever asked for no endpoint has nothing against one that was learned.
  const roamed = endpoint !== undefined &&
    (given === NO_ENDPOINT || isInTouch && endpointText(endpoint) !== given);
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
 * What it takes to make a peer as desired, given what is known to be there. What is right already is
 * left out where naming it again would disturb: allowed IPs that are replaced by themselves are gone
 * for a moment, and an endpoint that was given before would undo a learned one.
 */
export function peerChange(
  desired: WireguardPeer,
  actual: WireguardPeer | undefined,
  given: GivenEndpoint,
): PeerChange {
  const { publicKey, presharedKey, endpoint, keepaliveSeconds, allowedIps } = desired;
  const keepsEndpoint = endpoint === undefined ||
    actual?.roamed === true && given === endpointText(endpoint);
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

/** What a peer is after `change` was made to become `desired`. */
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

export function givenEndpoint({ endpoint }: WireguardPeer): string {
  return endpoint === undefined ? NO_ENDPOINT : endpointText(endpoint);
}

/** Whether two readings of one entry tell the same, also of what is as good as what is desired. */
export function sameReading(a: Resource, b: Resource): boolean {
  const roamed = (one: Resource) => one.kind === "wireguard-peer" && one.roamed === true;
  return roamed(a) === roamed(b) && equalResources(a, b);
}
