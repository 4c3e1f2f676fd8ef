import { type PerFamily, valuesOf } from "../addr/family.ts";
import type { FamilyNetwork } from "../config/network_config.ts";
import type { Ownership } from "../state/ownership.ts";

/** Of a backend without devices: routes within the networks, as of `--ip-blackhole-route`. */
export function devicelessOwnership(networks: PerFamily<FamilyNetwork>): Ownership {
  return {
    links: new Set(),
    linkTypes: new Set(),
    networks: valuesOf(networks).map(({ network }) => network),
    routeLink: undefined,
  };
}
