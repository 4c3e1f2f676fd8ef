/** The network of a lab: its ranges, and its configuration. */

import { mapFamilies, type PerFamily } from "../addr/family.ts";
import { addressValue, formatAddress, type IpAddress } from "../addr/ip.ts";
import { makePrefix, type Prefix, prefixAddress } from "../addr/prefix.ts";
import { bridgeNetfilterProblem } from "../firewall/firewall.ts";
import { backendConfig } from "./lab_backend.ts";
import type { LabOptions } from "./lab_options.ts";

/** The length of each host's subnet. */
const SUBNET_LENGTHS = { 4: 24, 6: 64 } as const;

/** The content of the network configuration. */
export function networkConfig(options: LabOptions): object {
  const { backend, families } = options;
  const networks = networksOf(options);
  const enabled = mapFamilies(networks, () => true);
  return {
    EnableIPv4: networks[4] !== undefined,
    ...(networks[4] !== undefined && { Network: networks[4], SubnetLen: SUBNET_LENGTHS[4] }),
    ...(networks[6] !== undefined && { EnableIPv6: true, IPv6Network: networks[6] }),
    // The lab does not load br_netfilter: it changes no settings of the machine.
    ...(bridgeNetfilterProblem(enabled) !== undefined && { EnableNFTables: true }),
    Backend: backendConfig(backend, families),
  };
}

/** The pod CIDRs of the host of this number, counted from 1, as Kubernetes would assign them. */
export function podCidrs(
  number: number,
  options: Pick<LabOptions, "families" | "hosts">,
): PerFamily<Prefix> {
  return mapFamilies(networksOf(options), (network, family) => {
    const hostBits = (family === 4 ? 32 : 128) - SUBNET_LENGTHS[family];
    const first = addressValue(prefixAddress(network)) + (BigInt(number) << BigInt(hostBits));
    return makePrefix(formatAddress(family, first), SUBNET_LENGTHS[family]);
  });
}

function networksOf({ families, hosts }: Pick<LabOptions, "families" | "hosts">) {
  const ranges: PerFamily<Prefix> = {
    4: hosts > 200
      ? makePrefix("10.0.0.0" as IpAddress, 8)
      : makePrefix("10.244.0.0" as IpAddress, 16),
    6: makePrefix("fd00:10:244::" as IpAddress, 48),
  };
  return mapFamilies(
    ranges,
    (range, family) => families.includes(family) ? range : undefined,
  );
}
