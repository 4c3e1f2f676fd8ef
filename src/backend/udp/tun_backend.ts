/**
 * udp by a proxy: a TUN device with a route for the whole network, and a target that moves packets.
 */

import { type Link, NO_MAC } from "../../state/resource.ts";
import type { Backend } from "../../overlay/backend.ts";
import { UDP_DEVICE } from "./udp_descriptor.ts";
import { networkRoute, nodeAddress } from "../../overlay/node_entries.ts";
import { requireBackendType, tunnelEnd } from "../../overlay/peer_lease.ts";
import type { BackendTarget } from "../../overlay/backend_target.ts";
import { commonBackendParts, type UdpSetup } from "./udp_setup.ts";

/** Only the proxy knows where a peer's packets go: there are no kernel entries for peers. */
export function tunBackend(setup: UdpSetup & { readonly proxy: BackendTarget }): Backend {
  const { network, proxy } = setup;
  const common = commonBackendParts(setup);
  return {
    ...common,
    target: proxy,
    routesNetwork: true,
    node({ own, external }) {
      const mtuBytes = common.mtuBytes(external);
      const device: Link = {
        kind: "link",
        type: "tun",
        name: UDP_DEVICE,
        mtuBytes,
        mac: NO_MAC,
        up: true,
      };
      return [device, ...nodeAddress(own, UDP_DEVICE, 4), networkRoute(network, UDP_DEVICE)];
    },
    peer(peer, { external }) {
      requireBackendType(peer, "");
      tunnelEnd(peer, 4, external); // throws if the peer has none
      return [];
    },
  };
}
