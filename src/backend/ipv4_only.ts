/** For backends that know IPv4 only. */

import { ConfigError } from "../config/config_error.ts";
import type { FamilyNetwork, NetworkConfig } from "../config/network_config.ts";

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
