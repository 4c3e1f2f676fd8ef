/** The network configuration: JSON at `<prefix>/config` in etcd, or net-conf.json in Kubernetes. */

import { mapFamilies, type PerFamily } from "../addr/family.ts";
import {
  addressBits,
  addressValue,
  FAMILIES,
  type Family,
  familyOf,
  formatAddress,
  type IpAddress,
  isUnspecified,
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
import { isJsonObject, type JsonObject } from "../base/json_object.ts";
import { errorMessage } from "../base/operator_error.ts";
import { printableName, quoted } from "../base/quoting.ts";
import { specialPurposeBlock } from "../addr/special_purpose.ts";
import { ConfigError } from "./config_error.ts";
import {
  booleanOption,
  integerOption,
  NO_WARNINGS,
  type OptionSpec,
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
  /** The prefix length of each node's subnet. */
  readonly subnetLength: number;
  /** The first addresses of the first and of the last subnet that a node may get. */
  readonly subnetMin: IpAddress;
  readonly subnetMax: IpAddress;
}

/**
 * The addresses of all subnets that nodes may get: from SubnetMin to the end of the subnet at
 * SubnetMax. The rest of the network is free for hosts, for example if Network is 10.0.0.0/8.
 */
export function assignableRange(
  { subnetLength, subnetMin, subnetMax }: Omit<FamilyNetwork, "network">,
): PrefixRange {
  return {
    first: prefixRange(makePrefix(subnetMin, subnetLength)).first,
    last: prefixRange(makePrefix(subnetMax, subnetLength)).last,
  };
}

/** The first and the last of these subnets: `10.5.1.0/24 to 10.5.255.0/24`. */
export function assignableText({ subnetLength, subnetMin, subnetMax }: FamilyNetwork): string {
  return `${subnetMin}/${subnetLength} to ${subnetMax}/${subnetLength}`;
}

/** Whether a subnet that a node may get overlaps the prefix. */
export function overlapsAssignableRange(network: FamilyNetwork, prefix: Prefix): boolean {
  if (!prefixesOverlap(network.network, prefix)) return false;
  const [subnets, range] = [assignableRange(network), prefixRange(prefix)];
  return range.first <= subnets.last && subnets.first <= range.last;
}

export interface BackendConfig {
  /** In lower case. */
  readonly type: string;
  /** The other keys of the Backend object, which the backend reads by its own schema. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Who chooses the nodes' subnets: each node its own, or Kubernetes for all nodes. */
export type SubnetAllocation = "flanneld" | "kubernetes";

export interface NetworkConfigOptions {
  /** Where the text is, for messages: an etcd key or a path. */
  readonly source: string;
  /** Called with one line for each setting that is valid but probably a mistake. */
  warn(message: string): void;
  /**
   * Who allocates subnets; default `flanneld`. With `kubernetes`, SubnetMin and SubnetMax are
   * ignored, the range is the whole network, and SubnetLen is not checked.
   */
  readonly allocation?: SubnetAllocation;
}

export const DEFAULT_BACKEND_TYPE = "vxlan";
/** Kubernetes allows 1 MiB for a ConfigMap. */
const LIMITS: JsonLimits = { maxBytes: 1024 * 1024, maxDepth: 32 };

/**
 * Parses and checks the configuration, and fills in defaults. Throws `ConfigError` that names the
 * key, its value and what to write instead.
 */
export function parseNetworkConfig(text: string, options: NetworkConfigOptions): NetworkConfig {
  return readNetworkConfig(parseObject(text, options.source), options);
}

/** As `parseNetworkConfig`, from what is parsed as JSON. */
export function readNetworkConfig(
  value: JsonObject,
  options: NetworkConfigOptions,
): NetworkConfig {
  const { source, warn } = options;
  const values = readOptions(value, SCHEMA, { warn, source });
  const enabled: PerFamily<boolean> = { 4: values.EnableIPv4, 6: values.EnableIPv6 };
  if (!enabled[4] && !enabled[6]) {
    throw new ConfigError(
      `EnableIPv4 and EnableIPv6 in ${source} are both false; set at least one to true`,
      { key: "EnableIPv4" },
    );
  }
  for (const family of FAMILIES) {
    if (!enabled[family]) warnAboutUnused(FAMILY_KEYS[family], values, options);
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

/** The names of a family's keys, and the limits of their values. */
interface FamilyKeys {
  readonly enable: "EnableIPv4" | "EnableIPv6";
  readonly network: "Network" | "IPv6Network";
  readonly length: "SubnetLen" | "IPv6SubnetLen";
  readonly min: "SubnetMin" | "IPv6SubnetMin";
  readonly max: "SubnetMax" | "IPv6SubnetMax";
  readonly defaultLength: number;
  /** A longer prefix has no room for a device and a workload. */
  readonly maxLength: number;
  readonly example: string;
}

const FAMILY_KEYS: Readonly<Record<Family, FamilyKeys>> = {
  4: {
    enable: "EnableIPv4",
    network: "Network",
    length: "SubnetLen",
    min: "SubnetMin",
    max: "SubnetMax",
    defaultLength: 24,
    maxLength: 30,
    example: "10.5.0.0/16",
  },
  6: {
    enable: "EnableIPv6",
    network: "IPv6Network",
    length: "IPv6SubnetLen",
    min: "IPv6SubnetMin",
    max: "IPv6SubnetMax",
    defaultLength: 64,
    maxLength: 126,
    example: "fc00::/48",
  },
};

/** The names of the keys of a family, spelled as in the manual. */
export function familyKeys(
  family: Family,
): Readonly<Record<"enable" | "network" | "length" | "min" | "max", string>> {
  return FAMILY_KEYS[family];
}

/** A network has at least four subnets; the first one is not used by default. */
const SPLIT_BITS = 2;

const SCHEMA = {
  EnableIPv4: booleanOption({ default: true }),
  EnableIPv6: booleanOption({ default: false }),
  EnableNFTables: booleanOption({ default: false }),
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

function familyNetwork(
  family: Family,
  values: Values,
  options: NetworkConfigOptions,
): FamilyNetwork {
  const keys = FAMILY_KEYS[family];
  const network = readNetwork(values[keys.network], keys, options);
  if (options.allocation === "kubernetes") {
    return kubernetesNetwork(network, values[keys.length], keys);
  }
  const subnetLength = readSubnetLength(network, values[keys.length], keys, options.source);
  const { first, last } = prefixRange(network);
  const size = 1n << BigInt(addressBits(family) - subnetLength);
  const bound = (key: "min" | "max", fallback: bigint) =>
    readBound(values[keys[key]], keys[key], { network, subnetLength, source: options.source }) ??
      formatAddress(family, fallback);
  const subnetMin = bound("min", first + size);
  const subnetMax = bound("max", last + 1n - size);
  if (addressValue(subnetMin) > addressValue(subnetMax)) {
    throw new ConfigError(
      `${keys.max} in ${options.source} is ${subnetMax}, which is before ` +
        `${keys.min} ${subnetMin}; swap them, or omit one`,
      { key: keys.max },
    );
  }
  return { network, subnetLength, subnetMin, subnetMax };
}

/** The family of this network is disabled, probably because the operator forgot to enable it. */
function warnAboutUnused(
  keys: FamilyKeys,
  values: Values,
  { source, warn }: NetworkConfigOptions,
): void {
  if (values[keys.network] === undefined) return;
  warn(
    `${keys.network} in ${source} has no effect because ${keys.enable} is false; ` +
      `set ${keys.enable} to true, or remove ${keys.network}`,
  );
}

function readNetwork(
  given: { address: IpAddress; length: number } | undefined,
  keys: FamilyKeys,
  { source, warn }: NetworkConfigOptions,
): Prefix {
  if (given === undefined) {
    throw new ConfigError(
      `${keys.network} is missing in ${source}; add one, such as ` +
        `"${keys.network}": "${keys.example}"`,
      { key: keys.network },
    );
  }
  if (given.length === 0) {
    throw new ConfigError(
      `${keys.network} in ${source} is ${given.address}/0, which contains all addresses; ` +
        `choose a network that nothing else uses, such as ${keys.example}`,
      { key: keys.network },
    );
  }
  const network = makePrefix(given.address, given.length);
  const special = specialPurposeBlock(network);
  if (special !== undefined) {
    throw new ConfigError(
      `${keys.network} in ${source} is ${network}, which overlaps ${special.block} ` +
        `(${special.use}); choose a network that nothing else uses, such as ${keys.example}`,
      { key: keys.network },
    );
  }
  if (prefixAddress(network) !== given.address) {
    warn(
      `${keys.network} in ${source} is ${given.address}/${given.length}, which has host bits ` +
        `set; using ${network}`,
    );
  }
  return network;
}

function readSubnetLength(
  network: Prefix,
  given: number,
  keys: FamilyKeys,
  source: string,
): number {
  const networkLength = prefixLength(network);
  const shortest = networkLength + SPLIT_BITS;
  if (shortest > keys.maxLength) {
    throw new ConfigError(
      `${keys.network} in ${source} is ${network}, too small for four subnets of four addresses; ` +
        `use a /${keys.maxLength - SPLIT_BITS} or a larger network`,
      { key: keys.network },
    );
  }
  if (given === 0) return Math.max(keys.defaultLength, shortest);
  if (given < shortest || given > keys.maxLength) {
    throw new ConfigError(
      `${keys.length} in ${source} is ${given}; with ${keys.network} ${network} it must be ` +
        `from ${shortest} (four subnets) to ${keys.maxLength} (four addresses each)`,
      { key: keys.length },
    );
  }
  return given;
}

function readBound(
  given: IpAddress | undefined,
  key: string,
  { network, subnetLength, source }: { network: Prefix; subnetLength: number; source: string },
): IpAddress | undefined {
  // As in Go flannel, the unspecified address means "not set".
  if (given === undefined || isUnspecified(given)) return undefined;
  if (!prefixContainsAddress(network, given)) {
    throw new ConfigError(
      `${key} in ${source} is ${given}, which is outside of the network ${network}; ` +
        `choose an address inside it`,
      { key },
    );
  }
  const subnet = prefixAddress(makePrefix(given, subnetLength));
  if (subnet !== given) {
    throw new ConfigError(
      `${key} in ${source} is ${given}, which is not the first address of a /${subnetLength}; ` +
        `write ${subnet}`,
      { key },
    );
  }
  return given;
}

function kubernetesNetwork(network: Prefix, given: number, keys: FamilyKeys): FamilyNetwork {
  const family = familyOf(network);
  const { first, last } = prefixRange(network);
  const fallback = Math.max(keys.defaultLength, prefixLength(network));
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
    given,
    { Type: stringOption({ default: "" }) },
    { ...NO_WARNINGS, source: `the Backend object of ${source}` },
  );
  return {
    type: Type === "" ? DEFAULT_BACKEND_TYPE : Type.toLowerCase(),
    options: Object.fromEntries(entries.filter(([key]) => !isType(key))),
  };
}

function parseObject(text: string, source: string): JsonObject {
  const excess = jsonLimitProblem(text, LIMITS);
  if (excess !== undefined) throw new ConfigError(`${source} ${excess}; shorten it`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ConfigError(
      `${source} is not JSON: ${printableName(errorMessage(error), 200)}; ` +
        `write an object such as {"Network": "${FAMILY_KEYS[4].example}"}`,
      { cause: error },
    );
  }
  if (isJsonObject(value)) return value;
  throw new ConfigError(
    `${source} is ${quoted(text, 40)}, not a JSON object; ` +
      `write one such as {"Network": "${FAMILY_KEYS[4].example}"}`,
  );
}

function networkOption(
  family: Family,
): OptionSpec<{ address: IpAddress; length: number } | undefined> {
  return {
    default: undefined,
    accepted: `an IPv${family} network such as "${FAMILY_KEYS[family].example}"`,
    parse: (value) => {
      const parts = typeof value === "string" ? splitPrefix(value) : undefined;
      return parts && familyOf(parts.address) === family ? parts : undefined;
    },
  };
}

function addressOption(family: Family): OptionSpec<IpAddress | undefined> {
  return {
    default: undefined,
    accepted: `an IPv${family} address`,
    parse: (value) => {
      const address = typeof value === "string" ? parseIpAddress(value) : undefined;
      return address && familyOf(address) === family ? address : undefined;
    },
  };
}

function objectOption(): OptionSpec<Readonly<Record<string, unknown>>> {
  return {
    default: {},
    accepted: `an object such as {"Type": "${DEFAULT_BACKEND_TYPE}"}`,
    parse: (value) => isJsonObject(value) ? value : undefined,
  };
}
