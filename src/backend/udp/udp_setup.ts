/** The common parts of the two data paths. */

import type { PerFamily } from "../../addr/family.ts";
import type { IpAddress } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import type { Link } from "../../state/resource.ts";
import type { ExternalInterface } from "../../host/external_interface.ts";
import type { Backend } from "../../overlay/backend.ts";
import { IPV4_HEADER_BYTES } from "../ipip/ipip_tunnel.ts";
import { UDP, UDP_DEVICE } from "./udp_descriptor.ts";

export interface UdpSetup {
  readonly port: number;
  readonly network: Prefix;
  readonly publicAddresses: PerFamily<IpAddress>;
}

type CommonParts = Pick<
  Backend,
  "type" | "attributes" | "needsReachability" | "ownership" | "mtuBytes"
>;

export function commonBackendParts({ network, publicAddresses }: UdpSetup): CommonParts {
  return {
    type: UDP.type,
    // Without a type, like Go flannel's leases of this backend.
    attributes: { publicAddresses, backendType: "", backendData: {} },
    needsReachability: false,
    ownership: (external) => ({
      links: new Set([UDP_DEVICE]),
      // Both: the device of the other data path is replaced.
      linkTypes: new Set<Link["type"]>(["ipip", "tun"]),
      networks: [network],
      routeLink: external.name,
    }),
    mtuBytes: udpMtuBytes,
  };
}

export function udpMtuBytes(external: Pick<ExternalInterface, "mtuBytes">): number {
  return external.mtuBytes - IPV4_HEADER_BYTES - UDP_HEADER_BYTES;
}

const UDP_HEADER_BYTES = 8; // RFC 768
