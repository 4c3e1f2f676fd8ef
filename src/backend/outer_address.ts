/** Which of this node's addresses its outer packets come from. */

import { familiesOf, type PerFamily } from "../addr/family.ts";
import type { Family, IpAddress } from "../addr/ip.ts";
import type { BackendHost, ExternalInterface } from "./backend.ts";

/** Those of the advertised addresses that this host does not have: a router translates them. */
export async function unownedAddresses(
  host: BackendHost,
  publicAddresses: PerFamily<IpAddress>,
): Promise<PerFamily<IpAddress>> {
  const unowned: { 4?: IpAddress; 6?: IpAddress } = {};
  for (const family of familiesOf(publicAddresses)) {
    const address = publicAddresses[family] as IpAddress;
    const own = host.external.addresses[family];
    if (address === own || (await host.kernel.routeTo(address)).local) continue;
    host.log.info(
      `the public address ${address} is not an address of this host; packets leave with ${own} ` +
        "and must be translated on their way",
    );
    unowned[family] = address;
  }
  return unowned;
}

/**
 * The advertised address, to which the peers send; the interface's where the advertised one is in
 * `unowned`: an address that the host does not have cannot be a packet's source.
 */
export function outerAddress(
  external: ExternalInterface,
  unowned: PerFamily<IpAddress>,
  family: Family,
): IpAddress {
  const advertised = external.publicAddresses[family];
  const isOwn = advertised !== undefined && advertised !== unowned[family];
  return (isOwn ? advertised : external.addresses[family]) as IpAddress;
}
