/** What becomes of the chosen interface when it changes while the daemon runs. Pure. */

import { familiesOf } from "../addr/family.ts";
import type { Family, IpAddress } from "../addr/ip.ts";
import { prefixLength } from "../addr/prefix.ts";
import type { ExternalInterface } from "./external_interface.ts";
import { externalInterface, type HostFacts } from "./external_interface.ts";
import { type HostInterface, mayBeVirtual, usableAddresses } from "./interface_selection.ts";

/**
 * The same interface with its present name, MTU and addresses. It is found by its index, which a rename
 * does not change, and by its name if it was deleted and created again; of two candidates, the one with
 * the address is chosen. An address that still exists is kept, even a deprecated one, which --iface may
 * have chosen. The advertised address is the given one, or the interface's present one. Another
 * interface is never chosen: a default route that moves for a moment must not move the node. A text says
 * why the interface cannot be used at present.
 */
export function followInterface(
  current: ExternalInterface,
  facts: HostFacts,
): ExternalInterface | string {
  const device = sameDevice(current, facts.interfaces);
  if (device === undefined) return `interface ${current.name} is gone`;
  if (device.mtuBytes === 0) return `interface ${device.name} has MTU 0`;
  const addresses: { 4?: IpAddress; 6?: IpAddress } = {};
  for (const family of familiesOf(current.addresses)) {
    const before = current.addresses[family] as IpAddress;
    const isThere = device.addresses.some((candidate) => candidate.address === before);
    const address = isThere ? before : usableAddresses(device, family)[0];
    const lost = `interface ${device.name} has lost its IPv${family} address ${before}`;
    if (address === undefined) return lost;
    if (!isThere && hasNetwork(current, family) && isVirtual(device, address)) {
      return `${lost}, and ${address}, which it still has, is a virtual one`;
    }
    addresses[family] = address;
  }
  return externalInterface(device, addresses, facts);
}

/** A virtual address stays when DHCP takes the host's own away for a moment; the node does not move to it. */
function isVirtual({ addresses }: HostInterface, address: IpAddress): boolean {
  return addresses.some((one) => one.address === address && mayBeVirtual(one));
}

function hasNetwork({ networks }: ExternalInterface, family: Family): boolean {
  const network = networks?.[family];
  return network !== undefined && prefixLength(network) < (family === 4 ? 32 : 128);
}

function sameDevice(
  { ifindex, name, addresses }: ExternalInterface,
  interfaces: readonly HostInterface[],
): HostInterface | undefined {
  const own = Object.values(addresses);
  const candidates = [
    interfaces.find((device) => device.ifindex === ifindex),
    interfaces.find((device) => device.name === name),
  ].filter((device) => device !== undefined);
  return candidates.find((device) => device.addresses.some((one) => own.includes(one.address))) ??
    candidates[0];
}
