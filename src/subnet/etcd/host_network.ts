/** What the client asks about this host's network, to know which connections cannot work any more. */

import type { IpAddress } from "../../addr/ip.ts";

export interface HostNetwork {
  /** All addresses that this host has, on whatever device. */
  addresses(): Promise<ReadonlySet<IpAddress>>;
  /** How a packet to this address would leave; `undefined` when there is no route. */
  egressRoute(address: IpAddress): Promise<EgressRoute | undefined>;
}

export interface EgressRoute {
  readonly link?: string;
  readonly gateway?: IpAddress;
  /** The address that a new connection would have at this end. */
  readonly source?: IpAddress;
}

export function isSameRoute(a: EgressRoute | undefined, b: EgressRoute | undefined): boolean {
  return a?.link === b?.link && a?.gateway === b?.gateway && a?.source === b?.source;
}
