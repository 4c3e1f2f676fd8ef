/**
 * ipip: the kernel adds an IPv4 header to each packet between nodes (RFC 2003) and nothing else.
 *
 * The journey of a packet from a workload at 10.5.1.7 on node A (192.168.0.1) to one at 10.5.2.9 on
 * node B (192.168.0.2, subnet 10.5.2.0/24), with the entry that decides each hop:
 *
 *   1. It leaves the workload by its default route and reaches A's bridge.
 *   2. On A the ROUTE `10.5.2.0/24 via 192.168.0.2 dev flannel.ipip onlink` sends it to the tunnel
 *      device, with B's public address as next hop: `onlink`, because no address of the device
 *      includes it.
 *   3. The device has no remote address of its own: the next hop becomes the destination of the
 *      outer header, and the device's `local` address its source. Protocol 4, no port.
 *   4. B's flannel.ipip removes the outer header, since its `local` is the destination; it accepts
 *      any source. B forwards the packet by its own route for 10.5.2.0/24, the bridge's.
 *
 * A packet of node A itself has the ADDRESS 10.5.1.0/32 of flannel.ipip as its source.
 *
 * The kernel's ipip module creates a device `tunl0` in every namespace, with neither a local nor a
 * remote address. It is not ours; having a `local` distinguishes flannel.ipip from it.
 *
 * With DirectRouting, a peer that is reached without a gateway needs no tunnel: the ROUTE
 * `10.5.2.0/24 via 192.168.0.2 dev eth0` sends the packet without encapsulation.
 */

import type { PerFamily } from "../../addr/family.ts";
import type { IpAddress } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import { booleanOption, readOptions } from "../../config/option_schema.ts";
import type { ExternalInterface } from "../../host/external_interface.ts";
import { advertisedAddresses } from "../../overlay/advertised_addresses.ts";
import type { Backend, BackendModule } from "../../overlay/backend.ts";
import { ipipDevice, IPV4_HEADER_BYTES, ipv4Route, removeOtherTunnel } from "./ipip_tunnel.ts";
import { ipv4Network } from "../../overlay/ipv4_network.ts";
import { nodeAddress } from "../../overlay/node_entries.ts";
import { requireBackendType } from "../../overlay/peer_lease.ts";
import { UDP_DEVICE } from "../udp/udp_descriptor.ts";
import { IPIP, IPIP_DEVICE } from "./ipip_descriptor.ts";

export const OPTIONS = { DirectRouting: booleanOption({ default: false }) };

const ipip: BackendModule = {
  checkConfig: ({ backend }, log) => void readOptions(backend.options, OPTIONS, log),
  options: OPTIONS,
  mtuBytes: (_config, external) => ipipMtuBytes(external),
  async prepare(host) {
    const options = readOptions(host.config.backend.options, OPTIONS, host.log);
    const network = ipv4Network(host.config);
    const publicAddresses = advertisedAddresses(host);
    const local = host.external.sourceAddresses[4] as IpAddress;
    await removeOtherTunnel(host, { name: UDP_DEVICE, local });
    return ipipBackend({ ...options, network, publicAddresses });
  },
};

export default ipip;

interface IpipSetup {
  readonly DirectRouting: boolean;
  readonly network: Prefix;
  readonly publicAddresses: PerFamily<IpAddress>;
}

function ipipBackend({ DirectRouting, network, publicAddresses }: IpipSetup): Backend {
  return {
    type: IPIP.type,
    attributes: { publicAddresses, backendType: IPIP.type, backendData: {} },
    needsReachability: DirectRouting,
    ownership: (external) => ({
      links: new Set([IPIP_DEVICE]),
      linkTypes: new Set(["ipip"]),
      networks: [network],
      routeLink: external.name,
    }),
    mtuBytes: ipipMtuBytes,
    node: ({ own, external }) => [
      ipipDevice({
        name: IPIP_DEVICE,
        mtuBytes: ipipMtuBytes(external),
        local: external.sourceAddresses[4] as IpAddress,
      }),
      ...nodeAddress(own, IPIP_DEVICE, 4),
    ],
    peer(peer, { external }, reachability) {
      requireBackendType(peer, IPIP.type);
      const isDirect = DirectRouting && reachability.direct[4] === true;
      const by = isDirect
        ? { link: external.name, onlink: false }
        : { link: IPIP_DEVICE, onlink: true };
      return ipv4Route(peer, external, by);
    },
  };
}

function ipipMtuBytes(external: Pick<ExternalInterface, "mtuBytes">): number {
  return external.mtuBytes - IPV4_HEADER_BYTES;
}
