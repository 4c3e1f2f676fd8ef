/** udp by a proxy: a TUN device that takes in the whole network, and a target that moves packets. */

import { type Link, NO_MAC } from "../../state/resource.ts";
import type { Backend } from "../backend.ts";
import { UDP_DEVICE } from "../ipip_tunnel.ts";
import { networkRoute, nodeAddress } from "../node_entries.ts";
import { requireBackendType, tunnelEnd } from "../peer_lease.ts";
import type { Target } from "../target.ts";
import { commonParts, type UdpSetup } from "./common.ts";

/** Where a peer's packets go, only the proxy knows; the kernel holds nothing for a peer. */
export function tunBackend(setup: UdpSetup & { readonly proxy: Target }): Backend {
  const { network, proxy } = setup;
  const common = commonParts(setup);
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
      tunnelEnd(peer, 4, external); // throws if there is none
      return [];
    },
  };
}
