/** What belongs to a backend that has no device of its own. */

import { familiesOf, type PerFamily } from "../addr/family.ts";
import type { FamilyNetwork } from "../config/network_config.ts";
import type { Ownership } from "../state/ownership.ts";

/** Routes of ours inside the networks, as `--ip-blackhole-route` makes them, and nothing else. */
export function devicelessOwnership(networks: PerFamily<FamilyNetwork>): Ownership {
  return {
    links: new Set(),
    linkTypes: new Set(),
    networks: familiesOf(networks).map((family) => (networks[family] as FamilyNetwork).network),
    routeLink: undefined,
  };
}
