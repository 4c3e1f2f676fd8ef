/**
 * Routes for `--ip-blackhole-route`: without a bridge that holds this node's subnet, a packet to an
 * address in it that no workload has would follow the default route, come back, and loop.
 */

import { familiesOf } from "../addr/family.ts";
import type { Prefix } from "../addr/prefix.ts";
import { type Route, RT_TABLE_MAIN, RTPROT_FLANNEL } from "../state/resource.ts";
import type { Lease } from "../subnet/lease.ts";

/**
 * Higher than any metric in use, so that every other route to the subnet wins: a bridge's connected
 * route has 0 (IPv4) or 256 (IPv6). With metric 0 a blackhole made before the bridge would win.
 */
export const BLACKHOLE_METRIC = 0x7fff_ffff;

/** One blackhole for each subnet of the node. */
export function blackholeRoutes(own: Lease): Route[] {
  return familiesOf(own.subnets).map((family) => ({
    kind: "route",
    type: "blackhole",
    destination: own.subnets[family] as Prefix,
    onlink: false,
    scope: "universe",
    metric: BLACKHOLE_METRIC,
    protocol: RTPROT_FLANNEL,
    table: RT_TABLE_MAIN,
  }));
}
