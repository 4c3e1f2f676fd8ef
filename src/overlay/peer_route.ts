/** Routes to peers' subnets. */

import { familyOf, type IpAddress } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";
import { defaultMetric, type Route, RT_TABLE_MAIN, RTPROT_FLANNEL } from "../state/resource.ts";

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
