/** The external interface after a change of the host's interfaces. Pure. */

import { entriesOf, valuesOf } from "../addr/family.ts";
import { addressBits, type Family, type IpAddress } from "../addr/ip.ts";
import { prefixLength } from "../addr/prefix.ts";
import {
  type ExternalInterface,
  externalInterface,
  type HostAddressing,
} from "./external_interface.ts";
import { type HostInterface, mayBeVirtual, usableAddresses } from "./host_interface.ts";

/**
 * The same interface with its current name, MTU and addresses, or one line that says why it cannot
 * be used now.
 *
 * The interface is found by its index, which a rename does not change, and by its name if it was
 * deleted and created again; of two candidates, the one that has the address is chosen. An address
 * that still exists is kept, even a deprecated one, which `--iface` may have named. Another
 * interface is never chosen: a default route that changes for a moment would move the node.
 */
export function updatedInterface(
  current: ExternalInterface,
  host: HostAddressing,
): ExternalInterface | string {
  const device = sameDevice(current, host.interfaces);
  if (device === undefined) return `interface ${current.name} is gone`;
  if (device.mtuBytes === 0) return `interface ${device.name} has MTU 0`;
  const addresses: { 4?: IpAddress; 6?: IpAddress } = {};
  for (const [family, before] of entriesOf(current.addresses)) {
    const hasIt = device.addresses.some((candidate) => candidate.address === before);
    const address = hasIt ? before : usableAddresses(device, family)[0];
    const lost = `interface ${device.name} has lost its IPv${family} address ${before}`;
    if (address === undefined) return lost;
    if (!hasIt && hasNetwork(current, family) && isVirtual(device, address)) {
      return `${lost}; its remaining address ${address} is a virtual address`;
    }
    addresses[family] = address;
  }
  return externalInterface(device, addresses, host);
}

/** A virtual address stays while DHCP renews the host's own; the node does not move to it. */
function isVirtual({ addresses }: HostInterface, address: IpAddress): boolean {
  return addresses.some((one) => one.address === address && mayBeVirtual(one));
}

function hasNetwork({ networks }: ExternalInterface, family: Family): boolean {
  const network = networks?.[family];
  return network !== undefined && prefixLength(network) < addressBits(family);
}

function sameDevice(
  { ifindex, name, addresses }: ExternalInterface,
  interfaces: readonly HostInterface[],
): HostInterface | undefined {
  const own = valuesOf(addresses);
  const candidates = [
    interfaces.find((device) => device.ifindex === ifindex),
    interfaces.find((device) => device.name === name),
  ].filter((device) => device !== undefined);
  return candidates.find((device) => device.addresses.some((one) => own.includes(one.address))) ??
    candidates[0];
}
