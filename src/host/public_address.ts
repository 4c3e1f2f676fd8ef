/** Checks that the other nodes can send to the addresses that this node advertises. Pure. */

import { familiesOf, type PerFamily } from "../addr/family.ts";
import { type Family, familyOf, type IpAddress, isLinkLocal, nonUnicastKind } from "../addr/ip.ts";
import { hostPrefix, makePrefix } from "../addr/prefix.ts";
import { reservedAddresses } from "../addr/reserved_addresses.ts";
import type { ExternalInterface } from "./external_interface.ts";
import { type NetworkConfig, overlapsAssignableRange } from "../config/network_config.ts";
import { holderOf, type HostFacts } from "./external_interface.ts";
import type { HostInterfaces } from "./interface_selection.ts";

/**
 * The first problem in one line with what to do; `undefined` if there is none. The other nodes would
 * ignore a lease with such an address, and report it only in their own logs.
 */
export function publicAddressProblem(
  external: ExternalInterface,
  facts: HostFacts & { readonly families: NetworkConfig["families"] },
): string | undefined {
  for (const family of familiesOf(external.publicAddresses)) {
    const address = external.publicAddresses[family] as IpAddress;
    const defect = whyNotPublic(address, facts);
    if (defect === undefined) continue;
    const flag = flagOf(family);
    if (facts.given[family] === undefined && external.name.startsWith("flannel")) {
      return `${external.name} is a device of the overlay itself (its address ${address} is ${defect}` +
        "); name the interface that leads to the other hosts with --iface";
    }
    return facts.given[family] === undefined
      ? `address ${address} of interface ${external.name} is ${defect}: the other nodes cannot ` +
        `send to it; choose another interface with --iface, or give another address with ${flag}`
      : `${flag} ${address} is ${defect}: the other nodes cannot send to it; give the address by ` +
        `which they reach this host, or leave ${flag} out`;
  }
  return undefined;
}

/** One line for each advertised address that works only under certain conditions. */
export function publicAddressWarnings({ publicAddresses }: ExternalInterface): string[] {
  return Object.values(publicAddresses as PerFamily<IpAddress>).filter(isLinkLocal).map((address) =>
    `the public address ${address} is link-local: only nodes on the same link can send to it`
  );
}

function flagOf(family: Family): string {
  return family === 4 ? "--public-ip" : "--public-ipv6";
}

/** Completes "ADDRESS is …". */
function whyNotPublic(
  address: IpAddress,
  { interfaces, families }: Parameters<typeof publicAddressProblem>[1],
): string | undefined {
  const kind = nonUnicastKind(address);
  if (kind !== undefined) return `${/^[aeiuI]/.test(kind) ? "an" : "a"} ${kind} address`;
  if (isLinkLocal(address) && holderOf({ interfaces }, address) === undefined) {
    return "a link-local address that no interface here has";
  }
  const network = families[familyOf(address)];
  if (network !== undefined && overlapsAssignableRange(network, hostPrefix(address))) {
    return `inside the overlay network ${network.network}`;
  }
  return whyReserved(address, { interfaces });
}

/** As `reservedAddresses`; an IPv6 address that a host here has is certainly a host's. */
function whyReserved(
  address: IpAddress,
  facts: Pick<HostInterfaces, "interfaces">,
): string | undefined {
  if (familyOf(address) === 6 && holderOf(facts, address) !== undefined) return undefined;
  for (const device of facts.interfaces) {
    for (const own of device.addresses) {
      const network = makePrefix(own.address, own.prefixLength);
      const what = reservedAddresses(network).get(address);
      if (what !== undefined) return `the ${what} of ${network} (interface ${device.name})`;
    }
  }
  return undefined;
}
