/** From two ends of a tunnel to what charon is told of it: pure. */

import { type IpAddress, parseIpAddress } from "../../addr/ip.ts";
import { parsePrefix, type Prefix, prefixContains } from "../../addr/prefix.ts";
import { XFRM_REQID } from "../../state/resource.ts";
import type { ViciMessage } from "./vici_message.ts";

/** A node, as a tunnel sees it. */
export interface TunnelEnd {
  /** The address in its lease, which is also its name to the other end. */
  readonly publicAddress: IpAddress;
  readonly subnet: Prefix;
}

export interface CharonConnectionOptions {
  /** The overlay's network; by it our names are known. */
  readonly network: Prefix;
  readonly psk: string;
  /** Whether ESP is wrapped into UDP even where no address translation is seen. */
  readonly udpEncapsulation: boolean;
  /** Algorithms of the tunnel in strongSwan's notation. */
  readonly espProposal: string;
}

export interface CharonConnection {
  /** Name of the IKE connection, the same as Go flannel's. */
  readonly name: string;
  /** Name of its one tunnel. */
  readonly childName: string;
  readonly remote: TunnelEnd;
  /** Name of the pre-shared key. */
  readonly secretId: string;
  /** What `load-conn` is given. */
  readonly definition: ViciMessage;
  /** What `load-shared` is given. */
  readonly secret: ViciMessage;
}

/** `localAddress` is where packets leave from: behind address translation not the public one. */
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
    // They are flanneld's: a packet must not leave in plain text while there is no tunnel.
    policies: "no",
  };
  const definition: ViciMessage = {
    [name]: {
      version: "2",
      local_addrs: [local.localAddress],
      remote_addrs: [remote.publicAddress],
      proposals: ["aes256-sha256-modp4096"],
      keyingtries: "0", // for ever
      encap: options.udpEncapsulation ? "yes" : "no",
      // The ends of a tunnel are those of its policies, which follow the leases (not RFC 4555).
      mobike: "no",
      // A peer that restarts makes a second tunnel beside the first, which carries packets until
      // then; it must not ask us to give up the first one before (INITIAL_CONTACT, RFC 7296 2.4).
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

/** Whether a connection is one of an overlay with this network, this node's or a former one's. */
export function isOurConnection(name: string, network: Prefix): boolean {
  const [local, localSubnet, remoteSubnet, remote, ...rest] = name.split("-");
  if (rest.length > 0 || !isAddress(local) || !isAddress(remote)) return false;
  return [localSubnet, remoteSubnet].every((text) => {
    const subnet = parsePrefix(text ?? "");
    return subnet !== undefined && prefixContains(network, subnet);
  });
}

/** What the names of our pre-shared keys begin with. */
export function secretPrefix(network: Prefix): string {
  return `flannel-${network}-`;
}

/**
 * A peer that has been silent for so long is asked whether it is there, a few times, before its
 * tunnel is made anew. (Go flannel leaves it out: a tunnel to a peer that lost it stays dead until
 * its keys are due.)
 */
const DEAD_PEER_DETECTION_SECONDS = 30;

function isAddress(text: string | undefined): boolean {
  return text !== undefined && parseIpAddress(text) !== undefined;
}
