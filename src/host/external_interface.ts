/**
 * The external interface: the one that carries the packets between nodes, and its addresses. Pure.
 */

import type { GivenAddress } from "../addr/given_address.ts";
import { mapFamilies, type PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import { makePrefix, type Prefix } from "../addr/prefix.ts";
import { type HostInterface, interfaceWithAddress } from "./host_interface.ts";

/**
 * The interface that carries the outer packets, and the addresses by which nodes reach this one.
 */
export interface ExternalInterface {
  readonly name: string;
  /** Does not change when the interface is renamed. */
  readonly ifindex: number;
  readonly mtuBytes: number;
  /** The interface's own addresses. */
  readonly addresses: PerFamily<IpAddress>;
  /** The networks of these addresses, by the interface's prefix lengths. */
  readonly networks?: PerFamily<Prefix>;
  /** The addresses that the lease advertises: `addresses`, unless another is given. */
  readonly publicAddresses: PerFamily<IpAddress>;
  /**
   * The source addresses of outer packets: `publicAddresses` where an interface of this host has
   * them; otherwise `addresses`, which a router on the path translates.
   */
  readonly sourceAddresses: PerFamily<IpAddress>;
}

export interface HostAddressing {
  readonly interfaces: readonly HostInterface[];
  /**
   * Addresses to advertise instead of the interface's own: `--public-ip` and `--public-ipv6`, and
   * what the store prescribes.
   */
  readonly given: PerFamily<GivenAddress>;
}

/**
 * The external interface if this interface is chosen, with one of its addresses for each family.
 */
export function externalInterface(
  { name, ifindex, mtuBytes, addresses: held }: HostInterface,
  addresses: PerFamily<IpAddress>,
  { interfaces, given }: HostAddressing,
): ExternalInterface {
  const publicAddresses = mapFamilies(addresses, (own, family) => given[family]?.address ?? own);
  const sourceAddresses = mapFamilies(publicAddresses, (advertised, family) =>
    // An address that the host does not have cannot be a packet's source.
    interfaceWithAddress(interfaces, advertised) ? advertised : addresses[family]);
  const networks = mapFamilies(addresses, (own) => {
    const prefixLength = held.find(({ address }) => address === own)?.prefixLength;
    return prefixLength === undefined ? undefined : makePrefix(own, prefixLength);
  });
  return { name, ifindex, mtuBytes, addresses, networks, publicAddresses, sourceAddresses };
}
