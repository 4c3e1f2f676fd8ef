/** What the choice of a device and of its addresses means for the packets between nodes. Pure. */

import { mapFamilies, type PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import { makePrefix, type Prefix } from "../addr/prefix.ts";
import type { HostInterface, HostInterfaces } from "./interface_selection.ts";

/** The interface that carries the outer packets, and how the other nodes reach this one. */
export interface ExternalInterface {
  readonly name: string;
  /** Does not change when the interface is renamed. */
  readonly ifindex: number;
  readonly mtuBytes: number;
  /** The interface's own addresses. */
  readonly addresses: PerFamily<IpAddress>;
  /** The networks of these addresses, by the interface's prefix lengths. */
  readonly networks?: PerFamily<Prefix>;
  /** The addresses advertised to the other nodes: `addresses` unless `--public-ip` says otherwise. */
  readonly publicAddresses: PerFamily<IpAddress>;
  /**
   * Where the packets between nodes come from, and are expected: `publicAddresses` where this host has
   * them, on whatever interface, else `addresses`, as a router translates.
   */
  readonly sourceAddresses: PerFamily<IpAddress>;
}

export interface HostFacts extends Pick<HostInterfaces, "interfaces"> {
  /** Addresses to advertise instead of the interface's. */
  readonly given: PerFamily<IpAddress>;
}

/** The interface, with the addresses by which the other nodes reach this one. */
export function externalInterface(
  { name, ifindex, mtuBytes, addresses: held }: HostInterface,
  addresses: PerFamily<IpAddress>,
  { interfaces, given }: HostFacts,
): ExternalInterface {
  const publicAddresses = mapFamilies(addresses, (own, family) => given[family] ?? own);
  const sourceAddresses = mapFamilies(publicAddresses, (advertised, family) =>
    // An address that the host does not have cannot be a packet's source.
    holderOf({ interfaces }, advertised) ? advertised : addresses[family]);
  const networks = mapFamilies(addresses, (own) => {
    const prefixLength = held.find(({ address }) => address === own)?.prefixLength;
    return prefixLength === undefined ? undefined : makePrefix(own, prefixLength);
  });
  return { name, ifindex, mtuBytes, addresses, networks, publicAddresses, sourceAddresses };
}

/** The interface that has the address. */
export function holderOf(
  { interfaces }: Pick<HostInterfaces, "interfaces">,
  address: IpAddress,
): HostInterface | undefined {
  return interfaces.find((device) => device.addresses.some((one) => one.address === address));
}
