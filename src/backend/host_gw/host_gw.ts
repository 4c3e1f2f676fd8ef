/**
 * host-gw: each node is the router to its own subnet; packets travel as they are.
 *
 * The journey of a packet from a workload at 10.5.1.7 on node A (192.168.0.1) to one at 10.5.2.9 on
 * node B (192.168.0.2, subnet 10.5.2.0/24), by the entry that decides each hop:
 *
 *   1. It leaves the workload by its default route and reaches A's bridge.
 *   2. On A the ROUTE `10.5.2.0/24 via 192.168.0.2 dev eth0` sends it to B. The next hop is resolved
 *      by ARP or neighbour discovery like any neighbour on the network.
 *   3. B has the address, forwards, and its own route for 10.5.2.0/24, the bridge's, delivers.
 *
 * So A and B must share a link: a router between them would not know the way to 10.5.2.0/24. A peer
 * behind a gateway gets no route, and is reported, until the host's routes say that it is near.
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
  prepare(host) {
    checkConfig(host.config, host.log);
    refuseTranslation(host);
    return Promise.resolve(hostGwBackend(advertisedAddresses(host), host.config.families));
  },
};

export default hostGw;

function checkConfig({ backend }: NetworkConfig, log: Pick<Log, "warn">): void {
  readOptions(backend.options, OPTIONS, {
    warn: (message) => log.warn(message),
    ignore: WINDOWS_OPTIONS,
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
        `this host has no longer the public address ${advertised[lost]}, to which the ` +
          `other nodes send: give it back to ${name}, or restart with another --public-ip`;
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
        const way = reachability.path[family] ?? "unknown";
        return [
          `${subnet} cannot be reached: ${peer.attributes.publicAddresses[family]} is not on the ` +
          `network of ${external.name} (the way there is ${way}), and host-gw needs nodes that ` +
          "share one; vxlan works across routers",
        ];
      });
      return problems.length > 0 ? problems.join("; ") : undefined;
    },
  };
}

/** Peers send to the public address as their next hop, so it must be one that ARP finds. */
function refuseTranslation({ config, external }: BackendHost): void {
  for (const family of familiesOf(config.families)) {
    const own = external.addresses[family];
    const advertised = external.publicAddresses[family];
    if (own !== advertised) {
      throw new ConfigError(
        `the public address ${advertised} is not the address ${own} of ${external.name}; host-gw ` +
          "cannot work through address translation: leave --public-ip out, or use vxlan",
      );
    }
  }
}
