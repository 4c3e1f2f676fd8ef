/** A network configuration as text: complete, with all defaults, and without secrets. */

import { FAMILIES } from "../addr/ip.ts";
import { familyKeys, type NetworkConfig, type SubnetAllocation } from "../config/network_config.ts";
import type { OptionSchema } from "../config/option_schema.ts";
import { REDACTED } from "./check_config.ts";

/** A document that configures the same network, except for its secrets. */
export function effectiveConfigText(
  config: NetworkConfig,
  options: OptionSchema,
  allocation: SubnetAllocation,
): string {
  const document: Record<string, unknown> = {};
  for (const family of FAMILIES) document[familyKeys(family).enable] = !!config.families[family];
  for (const family of FAMILIES) {
    const network = config.families[family];
    if (network === undefined) continue;
    const keys = familyKeys(family);
    document[keys.network] = network.network;
    // Kubernetes chooses the subnets.
    if (allocation === "kubernetes") continue;
    document[keys.length] = network.subnetLength;
    document[keys.min] = network.subnetMin;
    document[keys.max] = network.subnetMax;
  }
  document.EnableNFTables = config.enableNftables;
  document.Backend = { Type: config.backend.type, ...effectiveOptions(config, options) };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** Those that are given, spelled as in the manual, and the defaults of the others. */
function effectiveOptions(
  { backend }: NetworkConfig,
  schema: OptionSchema,
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, { default: value }] of Object.entries(schema)) {
    if (value !== undefined) values[name] = Array.isArray(value) ? value.join(" ") : value;
  }
  const names = Object.keys(schema);
  for (const [key, value] of Object.entries(backend.options)) {
    const name = names.find((one) => one.toLowerCase() === key.toLowerCase());
    if (value !== null) values[name ?? key] = value;
  }
  for (const [name, { isSecret }] of Object.entries(schema)) {
    if (isSecret && values[name] !== "") values[name] = REDACTED;
  }
  return values;
}
