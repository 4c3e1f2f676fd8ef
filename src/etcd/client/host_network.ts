/**
 * Queries of this host's network, with which the client detects connections that can no longer
 * work.
 */

import type { IpAddress } from "../../addr/ip.ts";

export interface HostNetwork {
  /** All addresses of this host, on any device. */
  addresses(): Promise<ReadonlySet<IpAddress>>;
  /** The route of packets to this address; `undefined` if there is none. */
  egressRoute(address: IpAddress): Promise<EgressRoute | undefined>;
}

export interface EgressRoute {
  readonly link?: string;
  readonly gateway?: IpAddress;
  /** The local address of a new connection. */
  readonly source?: IpAddress;
}

export function isSameRoute(a: EgressRoute | undefined, b: EgressRoute | undefined): boolean {
  return a?.link === b?.link && a?.gateway === b?.gateway && a?.source === b?.source;
}
