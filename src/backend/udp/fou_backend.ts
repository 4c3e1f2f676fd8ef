/** udp in the kernel: an ipip device with FOU, and a port to receive at. */

import type { IpAddress } from "../../addr/ip.ts";
import type { Backend } from "../backend.ts";
import { ipipDevice, ipv4Route, receivePort, UDP_DEVICE } from "../ipip_tunnel.ts";
import { nodeAddress } from "../node_entries.ts";
import { requireBackendType } from "../peer_lease.ts";
import { commonParts, type UdpSetup } from "./common.ts";

interface FouSetup extends UdpSetup {
  /** The port of a former run, which may have been another one. */
  readonly formerPort: number | undefined;
}

export function fouBackend(setup: FouSetup): Backend {
  const { port, formerPort } = setup;
  const common = commonParts(setup);
  return {
    ...common,
    ownership: (external) => ({
      ...common.ownership(external),
      extraKinds: ["fou"],
      fouPorts: new Set([port, ...(formerPort === undefined ? [] : [formerPort])]),
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
