/** The networks of the tests, and hosts that keep chosen subnets, for texts that never vary. */

import type { Cluster } from "./cluster.ts";

export const IPV4 = { Network: "10.5.0.0/16" };
export const IPV6 = { EnableIPv6: true, IPv6Network: "fd00:5::/48" };
export const DUAL = { ...IPV4, ...IPV6 };
export const IPV6_ONLY = { EnableIPv4: false, ...IPV6 };

/** Host n gets 10.5.n.0/24 and fd00:5:0:n::/64, as if it had them in a previous run. */
export function rememberSubnets(
  cluster: Cluster,
  families: { ipv4: boolean; ipv6: boolean },
): void {
  cluster.hosts.forEach((host, index) => {
    const number = index + 1;
    host.remember({
      ...(families.ipv4 ? { network: IPV4.Network, ipv4: `10.5.${number}.1/24` } : {}),
      ...(families.ipv6 ? { network6: IPV6.IPv6Network, ipv6: `fd00:5:0:${number}::1/64` } : {}),
    });
  });
}
