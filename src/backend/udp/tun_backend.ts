/** udp by a proxy: a TUN device that takes in the whole network, and a target that moves packets. */

import {
  type Link,
  NO_MAC,
  type Route,
  RT_TABLE_MAIN,
  RTPROT_FLANNEL,
} from "../../state/resource.ts";
import type { Backend } from "../backend.ts";
import { nodeAddress, UDP_DEVICE } from "../ipip_tunnel.ts";
import { peerAddress, requireBackendType } from "../peer_lease.ts";
import type { Target } from "../target.ts";
import { commonParts, type UdpSetup } from "./common.ts";

/** Where a peer's packets go, only the proxy knows; the kernel holds nothing for a peer. */
export function tunBackend(setup: UdpSetup & { readonly proxy: Target }): Backend {
  const { network, proxy } = setup;
  const common = commonParts(setup);
  const toProxy: Route = {
    kind: "route",
    type: "unicast",
    destination: network,
    link: UDP_DEVICE,
    onlink: false,
    scope: "link",
    metric: 0,
    protocol: RTPROT_FLANNEL,
    table: RT_TABLE_MAIN,
  };
  return {
    ...common,
    target: proxy,
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
      return [device, ...nodeAddress(own, UDP_DEVICE), toProxy];
    },
    peer(peer) {
      requireBackendType(peer, "");
      peerAddress(peer, 4); // throws if there is none
      return [];
    },
  };
}
