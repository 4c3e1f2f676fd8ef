import { type PerFamily, valuesOf } from "../addr/family.ts";
import type { FamilyNetwork } from "../config/network_config.ts";
import type { Ownership } from "../state/ownership.ts";

/** For a backend without devices: it owns only routes, such as those of `--ip-blackhole-route`. */
export function devicelessOwnership(networks: PerFamily<FamilyNetwork>): Ownership {
  return {
    links: new Set(),
    linkTypes: new Set(),
    networks: valuesOf(networks).map(({ network }) => network),
    routeLink: undefined,
  };
}
