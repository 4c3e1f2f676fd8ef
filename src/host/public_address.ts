/** Whether the other nodes can send to the addresses that this node advertises. Pure. */

import { entriesOf, valuesOf } from "../addr/family.ts";
import { type Family, familyOf, type IpAddress, isLinkLocal } from "../addr/ip.ts";
import { makePrefix } from "../addr/prefix.ts";
import { reservedAddresses } from "../addr/reserved_addresses.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import { publicAddressDefect } from "../config/public_address_rule.ts";
import type { ExternalInterface, HostAddressing } from "./external_interface.ts";
import { interfaceWithAddress, type OverlayDeviceTest } from "./host_interface.ts";

export interface PublicAddressContext extends HostAddressing {
  readonly families: NetworkConfig["families"];
  readonly isOverlayDevice: OverlayDeviceTest;
}

/**
 * The first problem in one line with what to do; `undefined` if there is none. The other nodes
 * would ignore a lease with such an address, and report it only in their own logs.
 */
export function publicAddressProblem(
  external: ExternalInterface,
  context: PublicAddressContext,
): string | undefined {
  for (const [family, address] of entriesOf(external.publicAddresses)) {
    const defect = defectOf(address, context);
    if (defect === undefined) continue;
    const source = context.given[family]?.source;
    if (source !== undefined) {
      return `${source} ${address} is ${defect}: the other nodes cannot send to it; set ` +
        `${source} to the address by which they reach this host, or leave it out`;
    }
    return context.isOverlayDevice(external.name)
      ? `${external.name} is a device of the overlay itself (its address ${address} is ${defect}` +
        "); name the interface that leads to the other hosts with --iface"
      : `address ${address} of interface ${external.name} is ${defect}: the other nodes cannot ` +
        `send to it; choose another interface with --iface, or set another address with ${
          flagOf(family)
        }`;
  }
  return undefined;
}

/** One line for each advertised address that works only under certain conditions. */
export function publicAddressWarnings({ publicAddresses }: ExternalInterface): string[] {
  return valuesOf(publicAddresses).filter(isLinkLocal).map((address) =>
    `the public address ${address} is link-local: only nodes on the same link can send to it`
  );
}

function flagOf(family: Family): string {
  return family === 4 ? "--public-ip" : "--public-ipv6";
}

/** Completes "ADDRESS is …". */
function defectOf(
  address: IpAddress,
  { interfaces, families }: PublicAddressContext,
): string | undefined {
  const family = familyOf(address);
  const defect = publicAddressDefect(address, family, { config: { families } });
  if (defect !== undefined) return defect;
  const isHere = interfaceWithAddress(interfaces, address) !== undefined;
  if (isLinkLocal(address) && !isHere) return "a link-local address that no interface here has";
  // The anycast address of an IPv6 network is an ordinary one where a host of it has it.
  if (family === 6 && isHere) return undefined;
  const networks = interfaces.flatMap(({ addresses }) =>
    addresses.map((one) => makePrefix(one.address, one.prefixLength))
  );
  return reservedAddresses(networks).get(address);
}
