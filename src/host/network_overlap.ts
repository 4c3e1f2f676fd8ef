/**
 * Overlaps between the overlay network and the addresses that this host depends on. Pure.
 *
 * A route to another node's subnet is more specific than the host's own routes. A subnet that
 * contains the gateway's or the store's address cuts the host off from it, and a corrected lease
 * cannot arrive.
 */

import { entriesOf, valuesOf } from "../addr/family.ts";
import type { ExcludedAddress } from "../addr/excluded_address.ts";
import { familyOf, type IpAddress } from "../addr/ip.ts";
import {
  hostPrefix,
  makePrefix,
  type Prefix,
  prefixContainsAddress,
  prefixesOverlap,
  prefixLength,
} from "../addr/prefix.ts";
import type { ExternalInterface } from "./external_interface.ts";
import type { HostDependencies } from "./host_dependencies.ts";
import {
  type HostInterface,
  interfaceWithAddress,
  type OverlayDeviceTest,
} from "./host_interface.ts";
import { type NetworkConfig, overlapsAssignableRange } from "../config/network_config.ts";
import type { Route } from "../state/resource.ts";

type Families = NetworkConfig["families"];

/**
 * Why the network cannot be used on this host: it contains the network of the external interface,
 * so that a node's subnet could contain the address of a host. One line with what to do;
 * `undefined` if the network can be used.
 */
export function networkProblem(
  families: Families,
  external: ExternalInterface,
): string | undefined {
  for (const [family, address] of entriesOf(external.addresses)) {
    const network = families[family];
    if (network === undefined || !prefixContainsAddress(network.network, address)) continue;
    const local = external.networks?.[family] ?? hostPrefix(address);
    if (!overlapsAssignableRange(network, local)) continue;
    const key = KEYS[family];
    return `${key.network} ${network.network} covers ${local}, the network of interface ` +
      `${external.name}, by which this host (${address}) and the other nodes reach each other: ` +
      "a node's subnet could contain the address of a host. Choose a network that nothing else " +
      `uses, or set ${key.min} and ${key.max} so that they exclude ${local}`;
  }
  return undefined;
}

const KEYS = {
  4: { network: "Network", min: "SubnetMin", max: "SubnetMax" },
  6: { network: "IPv6Network", min: "IPv6SubnetMin", max: "IPv6SubnetMax" },
} as const;

/**
 * One line for each overlap that may be harmless. `ownSubnets` are the subnets that this node has
 * or had: the overlay's devices and the workloads' bridge have addresses in them.
 */
export function networkWarnings(
  families: Families,
  { interfaces, ownSubnets, dependencies, isOverlayDevice }: {
    readonly interfaces: readonly HostInterface[];
    readonly ownSubnets: readonly Prefix[];
    readonly dependencies: HostDependencies;
    readonly isOverlayDevice: OverlayDeviceTest;
  },
): string[] {
  const lines = new Set<string>();
  for (const { name, addresses } of interfaces) {
    if (name === "lo" || isOverlayDevice(name)) continue;
    for (const { address, prefixLength } of addresses) {
      const isOurs = ownSubnets.some((subnet) => prefixContainsAddress(subnet, address));
      const overlap = isOurs ? undefined : overlapText(families, makePrefix(address, prefixLength));
      if (overlap !== undefined) lines.add(overlap(name));
    }
  }
  for (const { address, what } of excludedAddresses(families, { ownSubnets, dependencies })) {
    const family = familyOf(address);
    const network = `${KEYS[family].network} ${families[family]?.network}`;
    lines.add(
      `${network} covers ${address}, ${what}: this node takes no subnet that contains it and ` +
        "ignores other nodes' leases that do; choose a network that nothing else uses",
    );
  }
  return [...lines];
}

function overlapText(families: Families, local: Prefix): ((name: string) => string) | undefined {
  const family = familyOf(local);
  const network = families[family];
  if (network === undefined || !prefixesOverlap(network.network, local)) return undefined;
  const { network: key, min, max } = KEYS[family];
  const result = overlapsAssignableRange(network, local)
    ? "a host there becomes unreachable if its address is in a node's subnet; choose a network " +
      "that nothing else uses"
    : `only ${min} and ${max} keep the nodes' subnets out of it`;
  return (name) =>
    `${key} ${network.network} overlaps ${local}, the network of interface ${name}: ${result}`;
}

/**
 * The addresses inside the network that no subnet may contain. A name server in this node's own
 * subnet is allowed: it may be a workload, or listen on the bridge.
 */
export function excludedAddresses(
  families: Families,
  { external, ownSubnets, dependencies }: {
    readonly external?: ExternalInterface;
    readonly ownSubnets: readonly Prefix[];
    readonly dependencies: HostDependencies;
  },
): ExcludedAddress[] {
  const { gateways, resolvers, endpoints } = dependencies;
  const own = external === undefined ? [] : [
    ...valuesOf(external.addresses),
    ...valuesOf(external.publicAddresses),
    ...valuesOf(external.sourceAddresses),
  ].map((address) => ({ address, what: "this node's own address" }));
  const foreignResolvers = resolvers.filter(({ address }) =>
    !ownSubnets.some((subnet) => prefixContainsAddress(subnet, address))
  );
  const all = [...own, ...gateways, ...endpoints, ...foreignResolvers];
  return all.filter(({ address }, index) => {
    const network = families[familyOf(address)]?.network;
    const isFirst = all.findIndex((other) => other.address === address) === index;
    return isFirst && network !== undefined && prefixContainsAddress(network, address);
  });
}

/**
 * Why a route to the whole network would cut this host off from its gateway or the store: the host
 * has no more specific route to it. One line with what to do; `undefined` if it would not.
 */
export function networkRouteProblem(
  families: Families,
  { interfaces, routes, dependencies: { gateways, endpoints } }: {
    readonly interfaces: readonly HostInterface[];
    /** The host's own routes, without those of the overlay. */
    readonly routes: readonly Route[];
    readonly dependencies: HostDependencies;
  },
): string | undefined {
  const isLocal = (address: IpAddress) => interfaceWithAddress(interfaces, address) !== undefined;
  for (const { address, what } of [...gateways, ...endpoints]) {
    const family = familyOf(address);
    const network = families[family]?.network;
    if (network === undefined || !prefixContainsAddress(network, address)) continue;
    const hasOwnRoute = isLocal(address) ||
      routes.some(({ destination }) =>
        prefixLength(destination) > prefixLength(network) &&
        prefixContainsAddress(destination, address)
      );
    if (hasOwnRoute) continue;
    const { network: key } = KEYS[family];
    return `${key} ${network} covers ${address}, ${what}, and this backend routes the whole ` +
      "network into its device: this host would be cut off. Choose a network that nothing else " +
      `uses, or give this host a route to ${address} alone`;
  }
  return undefined;
}

/** Whether two lists are equal. */
export function sameAddresses(
  a: readonly ExcludedAddress[],
  b: readonly ExcludedAddress[],
): boolean {
  return a.length === b.length &&
    a.every(({ address, what }, i) => address === b[i]?.address && what === b[i]?.what);
}
