/**
 * Routes for `--ip-blackhole-route`. Without a bridge that has this node's subnet, a packet to an
 * unused address of the subnet would follow the default route, come back, and loop.
 */

import { valuesOf } from "../addr/family.ts";
import { type Route, RT_TABLE_MAIN, RTPROT_FLANNEL } from "../state/resource.ts";
import type { Lease } from "../subnet/lease.ts";

/**
 * Higher than any metric in use, so that every other route to the subnet wins. A bridge's connected
 * route has 0 (IPv4) or 256 (IPv6); a blackhole with 0 that was there before the bridge would win.
 */
export const BLACKHOLE_METRIC = 0x7fff_ffff;

/** One for each subnet of the node. */
export function blackholeRoutes(own: Lease): Route[] {
  return valuesOf(own.subnets).map((destination) => ({
    kind: "route",
    type: "blackhole",
    destination,
    onlink: false,
    scope: "universe",
    metric: BLACKHOLE_METRIC,
    protocol: RTPROT_FLANNEL,
    table: RT_TABLE_MAIN,
  }));
}
