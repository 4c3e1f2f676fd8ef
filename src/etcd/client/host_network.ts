/** Queries about this host's network, by which the client detects connections that can no longer work. */

import type { IpAddress } from "../../addr/ip.ts";

export interface HostNetwork {
  /** All addresses that this host has, on whatever device. */
  addresses(): Promise<ReadonlySet<IpAddress>>;
  /** The route that a packet to this address would take; `undefined` if there is none. */
  egressRoute(address: IpAddress): Promise<EgressRoute | undefined>;
}

export interface EgressRoute {
  readonly link?: string;
  readonly gateway?: IpAddress;
  /** The local address that a new connection would have. */
  readonly source?: IpAddress;
}

export function isSameRoute(a: EgressRoute | undefined, b: EgressRoute | undefined): boolean {
  return a?.link === b?.link && a?.gateway === b?.gateway && a?.source === b?.source;
}
