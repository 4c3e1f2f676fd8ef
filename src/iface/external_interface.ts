/** What the choice of a device and of its addresses means for the packets between nodes. Pure. */

import { mapFamilies, type PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import { makePrefix } from "../addr/prefix.ts";
import type { ExternalInterface } from "../backend/backend.ts";
import type { HostInterface, HostInterfaces } from "./select.ts";

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
