/**
 * host-gw: each node is the router for its own subnet; packets are not encapsulated.
 *
 * The journey of a packet from a workload at 10.5.1.7 on node A (192.168.0.1) to one at 10.5.2.9 on
 * node B (192.168.0.2, subnet 10.5.2.0/24), with the entry that decides each hop:
 *
 *   1. It leaves the workload by its default route and reaches A's bridge.
 *   2. On A the ROUTE `10.5.2.0/24 via 192.168.0.2 dev eth0` sends it to B. The next hop is
 *      resolved by ARP or neighbour discovery like any neighbour on the network.
 *   3. B forwards it by its own route for 10.5.2.0/24, the bridge's.
 *
 * So A and B must share a link: a router between them would have no route to 10.5.2.0/24. A peer
 * behind a gateway gets no route and is reported, until the host's routes reach it without one.
 */

import { familiesOf, type PerFamily } from "../../addr/family.ts";
import { ConfigError } from "../../config/config_error.ts";
import type { FamilyNetwork, NetworkConfig } from "../../config/network_config.ts";
import { readOptions } from "../../config/option_schema.ts";
import type { Log } from "../../log/log.ts";
import type { Resource } from "../../state/resource.ts";
import { advertisedAddresses } from "../../overlay/advertised_addresses.ts";
import type { Backend, BackendHost, BackendModule } from "../../overlay/backend.ts";
import { devicelessOwnership } from "../../overlay/deviceless_ownership.ts";
import { peerAddress, requireBackendType } from "../../overlay/peer_lease.ts";
import { peerRoute } from "../../overlay/peer_route.ts";
import { HOST_GW } from "./host_gw_descriptor.ts";

export const OPTIONS = {};

/** Options of Go flannel on Windows, which shares the configuration with the Linux nodes. */
const WINDOWS_OPTIONS = ["Name", "DNSServerList"];

const hostGw: BackendModule = {
  checkConfig,
  options: OPTIONS,
  mtuBytes: (_config, external) => external.mtuBytes,
  prepare(host) {
    checkConfig(host.config, host.log);
    requireNoTranslation(host);
    return Promise.resolve(hostGwBackend(advertisedAddresses(host), host.config.families));
  },
};

export default hostGw;

function checkConfig({ backend }: NetworkConfig, log: Pick<Log, "warn">): void {
  readOptions(backend.options, OPTIONS, {
    warn: (message) => log.warn(message),
    otherKeys: WINDOWS_OPTIONS,
  });
}

function hostGwBackend(
  publicAddresses: Backend["attributes"]["publicAddresses"],
  networks: PerFamily<FamilyNetwork>,
): Backend {
  const families = familiesOf(networks);
  return {
    type: HOST_GW.type,
    attributes: { publicAddresses, backendType: HOST_GW.type, backendData: {} },
    needsReachability: true,
    ownership: ({ name }) => ({ ...devicelessOwnership(networks), routeLink: name }),
    mtuBytes: (external) => external.mtuBytes,
    externalProblem: ({ name, publicAddresses: advertised, sourceAddresses }) => {
      const lost = families.find((family) => advertised[family] !== sourceAddresses[family]);
      return lost &&
        `public address ${advertised[lost]}, to which the other nodes send, is no longer an ` +
          `address of this host; add it to ${name} again, or restart with another one ` +
          "(--public-ip, or the node's annotation node-public-ip)";
    },
    node: () => [],
    peer(peer, { external }, reachability): Resource[] {
      requireBackendType(peer, HOST_GW.type);
      return families.flatMap((family) => {
        const subnet = peer.subnets[family];
        if (subnet === undefined) return [];
        const gateway = peerAddress(peer, family);
        if (!reachability.direct[family]) return [];
        return [peerRoute({ subnet, gateway, link: external.name, onlink: false })];
      });
    },
    peerProblem(peer, { external }, reachability) {
      const problems = families.flatMap((family) => {
        const subnet = peer.subnets[family];
        if (subnet === undefined || reachability.direct[family]) return [];
        const path = reachability.path[family] ?? "unknown";
        return [
          `cannot reach ${subnet}: ${peer.attributes.publicAddresses[family]} is not on the link ` +
          `of ${external.name} (its route: ${path}), and host-gw needs all nodes on one link; ` +
          "use vxlan to cross routers",
        ];
      });
      return problems.length > 0 ? problems.join("; ") : undefined;
    },
  };
}

/** The public address is the peers' next hop, so ARP or neighbour discovery must find it. */
function requireNoTranslation({ config, external }: BackendHost): void {
  for (const family of familiesOf(config.families)) {
    const own = external.addresses[family];
    const advertised = external.publicAddresses[family];
    if (own !== advertised) {
      throw new ConfigError(
        `public address ${advertised} is not the address ${own} of ${external.name}, and host-gw ` +
          "does not work through address translation; remove --public-ip (the annotation " +
          "node-public-ip), or use vxlan",
      );
    }
  }
}
