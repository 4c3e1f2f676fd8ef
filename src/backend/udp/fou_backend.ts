/** udp in the kernel: an ipip device with FOU, and a receive port. */

import type { IpAddress } from "../../addr/ip.ts";
import type { Backend } from "../../overlay/backend.ts";
import { ipipDevice, ipv4Route, receivePort } from "../ipip/ipip_tunnel.ts";
import { UDP_DEVICE } from "./udp_descriptor.ts";
import { nodeAddress } from "../../overlay/node_entries.ts";
import { requireBackendType } from "../../overlay/peer_lease.ts";
import { commonBackendParts, type UdpSetup } from "./udp_setup.ts";

interface FouSetup extends UdpSetup {
  /** The port of the previous run, which may have been another one. */
  readonly previousPort: number | undefined;
}

export function fouBackend(setup: FouSetup): Backend {
  const { port, previousPort } = setup;
  const common = commonBackendParts(setup);
  return {
    ...common,
    ownership: (external) => ({
      ...common.ownership(external),
      extraKinds: ["fou"],
      fouPorts: new Set([port, ...(previousPort === undefined ? [] : [previousPort])]),
    }),
    node: ({ own, external }) => [
      ipipDevice({
        name: UDP_DEVICE,
        mtuBytes: common.mtuBytes(external),
        local: external.sourceAddresses[4] as IpAddress,
        fouPort: port,
      }),
      receivePort(port),
      ...nodeAddress(own, UDP_DEVICE, 4),
    ],
    peer(peer, { external }) {
      requireBackendType(peer, "");
      return ipv4Route(peer, external, { link: UDP_DEVICE, onlink: true });
    },
  };
}
