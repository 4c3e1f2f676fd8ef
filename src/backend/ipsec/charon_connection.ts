/** From the two ends of a tunnel to charon's connection and key: pure. */

import { type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import { parsePrefix, type Prefix, prefixContains } from "../../addr/prefix.ts";
import { XFRM_REQID } from "../../state/resource.ts";
import type { ViciMessage } from "./vici_message.ts";

/** A node, as a tunnel sees it. */
export interface TunnelEnd {
  /** The address in its lease, which is also its IKE identity. */
  readonly publicAddress: IpAddress;
  readonly subnet: Prefix;
}

export interface CharonConnectionOptions {
  /** The overlay's network: identifies flanneld's connections and keys. */
  readonly network: Prefix;
  readonly psk: string;
  /** Whether ESP is encapsulated in UDP even without address translation. */
  readonly udpEncapsulation: boolean;
  /** Algorithms of the tunnel in strongSwan's notation. */
  readonly espProposal: string;
}

export interface CharonConnection {
  /** Name of the IKE connection, as in Go flannel. */
  readonly name: string;
  /** Name of its one tunnel. */
  readonly childName: string;
  readonly remote: TunnelEnd;
  /** Name of the pre-shared key. */
  readonly secretId: string;
  /** The message of `load-conn`. */
  readonly definition: ViciMessage;
  /** The message of `load-shared`. */
  readonly secret: ViciMessage;
}

/**
 * `localAddress` is the source address of packets: behind address translation not the public one.
 */
export function connectionOf(
  local: TunnelEnd & { readonly localAddress: IpAddress },
  remote: TunnelEnd,
  options: CharonConnectionOptions,
): CharonConnection {
  const childName = `${local.subnet}-${remote.subnet}`;
  const name = `${local.publicAddress}-${childName}-${remote.publicAddress}`;
  const secretId = `${secretPrefix(options.network)}${remote.publicAddress}`;
  const child: ViciMessage = {
    local_ts: [local.subnet],
    remote_ts: [remote.subnet],
    esp_proposals: [options.espProposal],
    mode: "tunnel",
    reqid: String(XFRM_REQID),
    start_action: "start",
    close_action: "trap",
    dpd_action: "restart",
    rekey_time: "1h",
    // flanneld maintains them: without a tunnel, no packet may leave in plain text.
    policies: "no",
  };
  const definition: ViciMessage = {
    [name]: {
      version: "2",
      local_addrs: [local.localAddress],
      remote_addrs: [remote.publicAddress],
      proposals: ["aes256-sha256-modp4096"],
      keyingtries: "0", // forever
      encap: options.udpEncapsulation ? "yes" : "no",
      // Leases decide the addresses of a tunnel and its policies, not MOBIKE (RFC 4555).
      mobike: "no",
      // A peer that restarts creates a second tunnel next to the first one, which carries packets
      // until then. The peer may not ask to delete it before (INITIAL_CONTACT, RFC 7296 2.4).
      unique: "never",
      dpd_delay: `${DEAD_PEER_DETECTION_SECONDS}s`,
      local: { auth: "psk", id: local.publicAddress },
      remote: { auth: "psk", id: remote.publicAddress },
      children: { [childName]: child },
    },
  };
  const secret: ViciMessage = {
    id: secretId,
    type: "IKE",
    data: options.psk,
    owners: [local.publicAddress, remote.publicAddress],
  };
  return { name, childName, remote, secretId, definition, secret };
}

/** Whether a connection belongs to an overlay with this network, of this or a previous run. */
export function isOurConnection(name: string, network: Prefix): boolean {
  const [local, localSubnet, remoteSubnet, remote, ...rest] = name.split("-");
  if (rest.length > 0 || !isAddress(local) || !isAddress(remote)) return false;
  return [localSubnet, remoteSubnet].every((text) => {
    const subnet = parsePrefix(text ?? "");
    return subnet !== undefined && prefixContains(network, subnet);
  });
}

/** The prefix of the names of our pre-shared keys. */
export function secretPrefix(network: Prefix): string {
  return `flannel-${network}-`;
}

/**
 * After this time without packets, charon checks a few times whether the peer responds, and then
 * creates the tunnel again. (Go flannel does not: a tunnel that the peer has lost stays dead until
 * its keys expire.)
 */
const DEAD_PEER_DETECTION_SECONDS = 30;

function isAddress(text: string | undefined): boolean {
  return text !== undefined && parseIpAddress(text) !== undefined;
}
