/** Networks that the firewall's tests share. */

import type { Prefix } from "../../../src/addr/prefix.ts";
import {
  type FirewallRuleOptions,
  type FirewallRules,
  firewallRules,
} from "../../../src/firewall/rules/firewall_rules.ts";

export const NETWORK4 = "10.5.0.0/16" as Prefix;
export const SUBNET4 = "10.5.72.0/24" as Prefix;
export const NETWORK6 = "2001:cafe:42::/56" as Prefix;
export const SUBNET6 = "2001:cafe:42:1::/64" as Prefix;

/** By default, dual stack with everything enabled. */
export function rulesFor(options: Partial<FirewallRuleOptions> = {}): FirewallRules {
  return firewallRules({
    families: {
      4: { network: NETWORK4, subnet: SUBNET4 },
      6: { network: NETWORK6, subnet: SUBNET6 },
    },
    ipMasq: true,
    fullyRandom: true,
    forward: true,
    ...options,
  });
}
