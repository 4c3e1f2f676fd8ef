/** The network configuration: JSON at `<prefix>/config`, or net-conf.json with Kubernetes. */

import { mapFamilies, type PerFamily } from "../addr/family.ts";
import {
  addressBits,
  addressValue,
  FAMILIES,
  type Family,
  familyOf,
  formatAddress,
  type IpAddress,
  parseIpAddress,
} from "../addr/ip.ts";
import {
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixContainsAddress,
  prefixesOverlap,
  prefixLength,
  type PrefixRange,
  prefixRange,
  splitPrefix,
} from "../addr/prefix.ts";
import { jsonLimitProblem, type JsonLimits } from "../base/json_limits.ts";
import { printableName, quoted } from "../base/quoting.ts";
import { specialPurposeBlock } from "../addr/special_purpose.ts";
import { ConfigError } from "./config_error.ts";
import {
  booleanOption,
  integerOption,
  type OptionType,
  type OptionValues,
  readOptions,
  stringOption,
} from "./option_schema.ts";

export interface NetworkConfig {
  /** The enabled families; at least one. */
  readonly families: PerFamily<FamilyNetwork>;
  readonly enableNftables: boolean;
  readonly backend: BackendConfig;
}

export interface FamilyNetwork {
  readonly network: Prefix;
  /** Prefix length of each node's subnet. */
  readonly subnetLength: number;
  /** First address of the first and of the last subnet that may be given out. */
  readonly subnetMin: IpAddress;
  readonly subnetMax: IpAddress;
}

/**
 * The addresses of possible node subnets: from SubnetMin to the end of the subnet at SubnetMax. The rest
 * of the network is free for hosts, for example if Network is 10.0.0.0/8.
 */
export function assignableRange(
  { subnetLength, subnetMin, subnetMax }: Omit<FamilyNetwork, "network">,
): PrefixRange {
  return {
    first: prefixRange(makePrefix(subnetMin, subnetLength)).first,
    last: prefixRange(makePrefix(subnetMax, subnetLength)).last,
  };
}

/** Whether a node's subnet may contain addresses of this prefix. */
export function overlapsAssignableRange(network: FamilyNetwork, prefix: Prefix): boolean {
  if (!prefixesOverlap(network.network, prefix)) return false;
  const [subnets, range] = [assignableRange(network), prefixRange(prefix)];
  return range.first <= subnets.last && subnets.first <= range.last;
}

export interface BackendConfig {
  /** In lower case. */
  readonly type: string;
  /** The Backend object's other keys as they stand, for the backend's own schema. */
  readonly options: Readonly<Record<string, unknown>>;
}

export interface ParseOptions {
  /** Where the text comes from, for messages: an etcd key or a path. */
  readonly source: string;
  /** Gets one line for each thing that is accepted but probably not meant. */
  warn(message: string): void;
  /**
   * Whether SubnetLen, SubnetMin and SubnetMax are checked and used. `false` for Kubernetes, which
   * gives out the subnets itself: then the length is the default or what the text says, unchecked,
   * and the range is the whole network. Default `true`.
   */
  readonly sizeRules?: boolean;
}

export const DEFAULT_BACKEND_TYPE = "vxlan";
/** Kubernetes allows 1 MiB for a ConfigMap. */
const LIMITS: JsonLimits = { maxBytes: 1024 * 1024, maxDepth: 32 };

/**
 * Reads and checks the configuration, with defaults filled in. Throws `ConfigError` naming the key,
 * its value and what to write instead.
 */
export function parseNetworkConfig(text: string, options: ParseOptions): NetworkConfig {
  const { source, warn } = options;
  const values = readOptions(parseObject(text, source), SCHEMA, { warn, where: source });
  const enabled: PerFamily<boolean> = { 4: values.EnableIPv4, 6: values.EnableIPv6 };
  if (!enabled[4] && !enabled[6]) {
    throw new ConfigError(
      `EnableIPv4 and EnableIPv6 in ${source} are both false; set at least one to true`,
    );
  }
  for (const family of FAMILIES) {
    if (!enabled[family]) warnAboutUnused(RULES[family], values, options);
  }
  return {
    families: mapFamilies(
      enabled,
      (isEnabled, family) => isEnabled ? familyNetwork(family, values, options) : undefined,
    ),
    enableNftables: values.EnableNFTables,
    backend: backendConfig(values.Backend, source),
  };
}

/** How a family's keys are spelled and what its sizes may be. */
interface FamilyRules {
  readonly enable: "EnableIPv4" | "EnableIPv6";
  readonly network: "Network" | "IPv6Network";
  readonly length: "SubnetLen" | "IPv6SubnetLen";
  readonly min: "SubnetMin" | "IPv6SubnetMin";
  readonly max: "SubnetMax" | "IPv6SubnetMax";
  readonly defaultLength: number;
  /** A longer subnet has no room for a device and a workload. */
  readonly longest: number;
  readonly example: string;
}

const RULES: Readonly<Record<Family, FamilyRules>> = {
  4: {
    enable: "EnableIPv4",
    network: "Network",
    length: "SubnetLen",
    min: "SubnetMin",
    max: "SubnetMax",
    defaultLength: 24,
    longest: 30,
    example: "10.5.0.0/16",
  },
  6: {
    enable: "EnableIPv6",
    network: "IPv6Network",
    length: "IPv6SubnetLen",
    min: "IPv6SubnetMin",
    max: "IPv6SubnetMax",
    defaultLength: 64,
    longest: 126,
    example: "fc00::/48",
  },
};

/** A network is cut into at least four subnets: the first one is not given out. */
const SPLIT_BITS = 2;

const SCHEMA = {
  EnableIPv4: booleanOption(true),
  EnableIPv6: booleanOption(false),
  EnableNFTables: booleanOption(false),
  Network: networkOption(4),
  IPv6Network: networkOption(6),
  SubnetLen: integerOption({ default: 0, min: 0, max: addressBits(4) }),
  IPv6SubnetLen: integerOption({ default: 0, min: 0, max: addressBits(6) }),
  SubnetMin: addressOption(4),
  SubnetMax: addressOption(4),
  IPv6SubnetMin: addressOption(6),
  IPv6SubnetMax: addressOption(6),
  Backend: objectOption(),
};

type Values = OptionValues<typeof SCHEMA>;

function familyNetwork(family: Family, values: Values, options: ParseOptions): FamilyNetwork {
  const rules = RULES[family];
  const network = readNetwork(values[rules.network], rules, options);
  if (options.sizeRules === false) return unsizedNetwork(network, values[rules.length], rules);
  const subnetLength = readSubnetLength(network, values[rules.length], rules, options.source);
  const { first, last } = prefixRange(network);
  const size = 1n << BigInt(addressBits(family) - subnetLength);
  const bound = (key: "min" | "max", fallback: bigint) =>
    readBound(values[rules[key]], rules[key], { network, subnetLength, source: options.source }) ??
      formatAddress(family, fallback);
  const subnetMin = bound("min", first + size);
  const subnetMax = bound("max", last + 1n - size);
  if (addressValue(subnetMin) > addressValue(subnetMax)) {
    throw new ConfigError(
      `${rules.max} in ${options.source} is ${subnetMax}, before ${rules.min} ${subnetMin}; ` +
        `swap them, or leave one out`,
    );
  }
  return { network, subnetLength, subnetMin, subnetMax };
}

/** A network whose family is not enabled: the operator has probably forgotten to enable it. */
function warnAboutUnused(rules: FamilyRules, values: Values, { source, warn }: ParseOptions): void {
  if (values[rules.network] === undefined) return;
  warn(
    `${rules.network} in ${source} has no effect because ${rules.enable} is false; ` +
      `set ${rules.enable} to true, or remove ${rules.network}`,
  );
}

function readNetwork(
  given: { address: IpAddress; length: number } | undefined,
  rules: FamilyRules,
  { source, warn }: ParseOptions,
): Prefix {
  if (given === undefined) {
    throw new ConfigError(
      `${rules.network} is missing in ${source}; add one, such as ` +
        `"${rules.network}": "${rules.example}"`,
    );
  }
  if (given.length === 0) {
    throw new ConfigError(
      `${rules.network} in ${source} is ${given.address}/0, every address there is; ` +
        `choose a network that nothing else uses, such as ${rules.example}`,
    );
  }
  const network = makePrefix(given.address, given.length);
  const special = specialPurposeBlock(network);
  if (special !== undefined) {
    throw new ConfigError(
      `${rules.network} in ${source} is ${network}, and ${special.block} is ${special.use}; ` +
        `choose a network that nothing else uses, such as ${rules.example}`,
    );
  }
  if (prefixAddress(network) !== given.address) {
    warn(
      `${rules.network} in ${source} is ${given.address}/${given.length}, which has host bits set; ` +
        `${network} is used`,
    );
  }
  return network;
}

function readSubnetLength(
  network: Prefix,
  given: number,
  rules: FamilyRules,
  source: string,
): number {
  const networkLength = prefixLength(network);
  const shortest = networkLength + SPLIT_BITS;
  if (shortest > rules.longest) {
    throw new ConfigError(
      `${rules.network} in ${source} is ${network}, too small to be cut into four subnets of ` +
        `four addresses; it must be /${rules.longest - SPLIT_BITS} or larger`,
    );
  }
  if (given === 0) return Math.max(rules.defaultLength, shortest);
  if (given < shortest || given > rules.longest) {
    throw new ConfigError(
      `${rules.length} in ${source} is ${given}; with ${rules.network} ${network} it must be ` +
        `from ${shortest} (four subnets) to ${rules.longest} (four addresses each)`,
    );
  }
  return given;
}

function readBound(
  given: IpAddress | undefined,
  key: string,
  { network, subnetLength, source }: { network: Prefix; subnetLength: number; source: string },
): IpAddress | undefined {
  // Go takes the unspecified address for "not given".
  if (given === undefined || given === "0.0.0.0" || given === "::") return undefined;
  if (!prefixContainsAddress(network, given)) {
    throw new ConfigError(
      `${key} in ${source} is ${given}, outside the network ${network}; choose one inside it`,
    );
  }
  const subnet = prefixAddress(makePrefix(given, subnetLength));
  if (subnet !== given) {
    throw new ConfigError(
      `${key} in ${source} is ${given}, not the first address of a /${subnetLength}; ` +
        `write ${subnet}`,
    );
  }
  return given;
}

function unsizedNetwork(network: Prefix, given: number, rules: FamilyRules): FamilyNetwork {
  const family = familyOf(network);
  const { first, last } = prefixRange(network);
  const fallback = Math.max(rules.defaultLength, prefixLength(network));
  return {
    network,
    subnetLength: given === 0 ? fallback : given,
    subnetMin: formatAddress(family, first),
    subnetMax: formatAddress(family, last),
  };
}

function backendConfig(given: Readonly<Record<string, unknown>>, source: string): BackendConfig {
  const isType = (key: string) => key.toLowerCase() === "type";
  const entries = Object.entries(given);
  const { Type } = readOptions(
    Object.fromEntries(entries.filter(([key]) => isType(key))),
    { Type: stringOption({ default: "" }) },
    { warn: () => {}, where: `the Backend object of ${source}` },
  );
  return {
    type: Type === "" ? DEFAULT_BACKEND_TYPE : Type.toLowerCase(),
    options: Object.fromEntries(entries.filter(([key]) => !isType(key))),
  };
}

function parseObject(text: string, source: string): Record<string, unknown> {
  const excess = jsonLimitProblem(text, LIMITS);
  if (excess !== undefined) throw new ConfigError(`the text of ${source} ${excess}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ConfigError(
      `${source} is not JSON: ${printableName((error as Error).message, 200)}; ` +
        `write an object such as {"Network": "${RULES[4].example}"}`,
      { cause: error },
    );
  }
  if (isObject(value)) return value;
  throw new ConfigError(
    `${source} is ${quoted(text, 40)}, not a JSON object; ` +
      `write one such as {"Network": "${RULES[4].example}"}`,
  );
}

function networkOption(
  family: Family,
): OptionType<{ address: IpAddress; length: number } | undefined> {
  return {
    default: undefined,
    accepts: `an IPv${family} network such as "${RULES[family].example}"`,
    read: (value) => {
      const parts = typeof value === "string" ? splitPrefix(value) : undefined;
      return parts && familyOf(parts.address) === family ? parts : undefined;
    },
  };
}

function addressOption(family: Family): OptionType<IpAddress | undefined> {
  return {
    default: undefined,
    accepts: `an IPv${family} address`,
    read: (value) => {
      const address = typeof value === "string" ? parseIpAddress(value) : undefined;
      return address && familyOf(address) === family ? address : undefined;
    },
  };
}

function objectOption(): OptionType<Readonly<Record<string, unknown>>> {
  return {
    default: {},
    accepts: `an object such as {"Type": "${DEFAULT_BACKEND_TYPE}"}`,
    read: (value) => isObject(value) ? value : undefined,
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
