/** For backends that know IPv4 only. */

import type { Prefix } from "../addr/prefix.ts";
import { ConfigError } from "../config/config_error.ts";
import type { FamilyNetwork, NetworkConfig } from "../config/network_config.ts";
import { type OptionSchema, type OptionValues, readOptions } from "../config/option_schema.ts";
import type { Log } from "../log/log.ts";

/** The backend's options and its network. Throws `ConfigError` for a bad option, or an IPv6 network. */
export function readIpv4Config<S extends OptionSchema>(
  config: NetworkConfig,
  schema: S,
  log: Pick<Log, "warn">,
): { options: OptionValues<S>; network: Prefix } {
  const options = readOptions(config.backend.options, schema, log);
  return { options, network: requireIpv4Only(config).network };
}

/** The IPv4 network; throws `ConfigError` where there is an IPv6 one. */
export function requireIpv4Only(config: NetworkConfig): FamilyNetwork {
  const { 4: ipv4, 6: ipv6 } = config.families;
  if (ipv4 === undefined || ipv6 !== undefined) {
    const cure = ipv4 === undefined ? "set it to false and EnableIPv4 to true" : "leave it out";
    throw new ConfigError(
      `the ${config.backend.type} backend carries IPv4 only, and the network configuration has ` +
        `EnableIPv6; ${cure}, or use vxlan, host-gw or wireguard`,
    );
  }
  return ipv4;
}
