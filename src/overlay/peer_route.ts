/** Routes to peers' subnets. */

import { type Family, familyOf, type IpAddress } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import {
  IPV6_DEFAULT_METRIC,
  type Route,
  RT_TABLE_MAIN,
  RTPROT_FLANNEL,
} from "../state/resource.ts";

export interface PeerRouteOptions {
  readonly subnet: Prefix;
  readonly gateway: IpAddress;
  readonly link: string;
  /** The gateway is on the link although none of this host's addresses includes it. */
  readonly onlink: boolean;
}

export function peerRoute({ subnet, gateway, link, onlink }: PeerRouteOptions): Route {
  return {
    kind: "route",
    type: "unicast",
    destination: subnet,
    link,
    gateway,
    onlink,
    scope: "universe",
    metric: defaultMetric(familyOf(subnet)),
    protocol: RTPROT_FLANNEL,
    table: RT_TABLE_MAIN,
  };
}

/** The metric that the kernel gives to a route without one. */
export function defaultMetric(family: Family): number {
  return family === 4 ? 0 : IPV6_DEFAULT_METRIC;
}
