import { mapFamilies, type PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import { ConfigError } from "../config/config_error.ts";
import type { BackendHost } from "./backend.ts";

/**
 * The public addresses that this node's lease advertises, one for each family of the network.
 * Throws `ConfigError` if the external interface has none.
 */
export function advertisedAddresses({ config, external }: BackendHost): PerFamily<IpAddress> {
  return mapFamilies(config.families, (_, family) => {
    const address = external.publicAddresses[family];
    if (address === undefined) {
      throw new ConfigError(
        `external interface ${external.name} has no IPv${family} address, and the network has ` +
          `IPv${family}; add an address, or choose another interface with --iface`,
      );
    }
    return address;
  });
}
