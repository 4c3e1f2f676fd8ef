/** The public addresses that a lease advertises. */

import { mapFamilies, type PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import { ConfigError } from "../config/config_error.ts";
import type { BackendHost } from "./backend.ts";

/** One for each family of the network; throws `ConfigError` when the external interface has none. */
export function advertisedAddresses({ config, external }: BackendHost): PerFamily<IpAddress> {
  return mapFamilies(config.families, (_, family) => {
    const address = external.publicAddresses[family];
    if (address === undefined) {
      throw new ConfigError(
        `the network has IPv${family}, but the external interface ${external.name} has no ` +
          `IPv${family} address; give it one, or choose another interface with --iface`,
      );
    }
    return address;
  });
}
