/** The subnet file as the plugin needs it, also with several networks in one line. */

import type { PerFamily } from "../addr/family.ts";
import { FAMILIES, type Family, familyOf } from "../addr/ip.ts";
import { parsePrefixMasked, type Prefix } from "../addr/prefix.ts";
import { quoted } from "../base/quoting.ts";
import { readRegularText } from "../base/regular_file.ts";
import { subnetFileLines } from "../subnet/subnet_file.ts";
import { CNI_CODES, CniError } from "./cni_error.ts";

export interface SubnetEnvironment {
  /** IPv4 first. */
  readonly networks: readonly Prefix[];
  readonly subnets: PerFamily<Prefix>;
  readonly mtuBytes: number;
  /** The daemon masquerades, so that the delegate does not have to. */
  readonly ipMasq: boolean;
}

const MAX_FILE_BYTES = 64 * 1024;

/**
 * Reads the file that the daemon writes. Throws `CniError` with the words by which flannel's users
 * know a file that is not there.
 */
export function loadSubnetEnvironment(path: string): SubnetEnvironment {
  let text: string;
  try {
    text = readRegularText(path, MAX_FILE_BYTES);
  } catch (cause) {
    const reason = systemReason(cause as NodeJS.ErrnoException, path);
    throw notLoaded(`${reason}; the daemon writes it: see the log of flanneld on this node`);
  }
  return parseSubnetEnvironment(text, path);
}

/** Throws `CniError`. */
export function parseSubnetEnvironment(text: string, path: string): SubnetEnvironment {
  const lines = new Map(subnetFileLines(text, () => undefined));
  const networks = FAMILIES.flatMap((family) => {
    const value = lines.get(NAMES[family].network);
    return value === undefined
      ? []
      : value.split(",").map((one) =>
        parsePrefixOf(family, one, { path, name: NAMES[family].network })
      );
  });
  const subnets: { 4?: Prefix; 6?: Prefix } = {};
  for (const family of FAMILIES) {
    const name = NAMES[family].subnet;
    const value = lines.get(name);
    if (value !== undefined) subnets[family] = parsePrefixOf(family, value, { path, name });
  }
  const [mtu, ipMasq] = [lines.get("FLANNEL_MTU"), lines.get("FLANNEL_IPMASQ")];
  const missing = [
    ...(networks.length > 0 ? [] : FAMILIES.map((family) => NAMES[family].network)),
    ...(Object.keys(subnets).length > 0 ? [] : FAMILIES.map((family) => NAMES[family].subnet)),
    ...(mtu === undefined ? ["FLANNEL_MTU"] : []),
    ...(ipMasq === undefined ? ["FLANNEL_IPMASQ"] : []),
  ];
  if (missing.length > 0) throw notLoaded(`${path} is missing ${missing.join(", ")}`);
  if (!/^[1-9]\d{0,8}$/.test(mtu ?? "")) {
    throw notLoaded(`FLANNEL_MTU in ${path} is ${quoted(mtu)}, not a number of bytes`);
  }
  return {
    networks: [...new Set(networks)],
    subnets,
    mtuBytes: Number(mtu),
    ipMasq: ipMasq === "true",
  };
}

const NAMES = {
  4: { network: "FLANNEL_NETWORK", subnet: "FLANNEL_SUBNET" },
  6: { network: "FLANNEL_IPV6_NETWORK", subnet: "FLANNEL_IPV6_SUBNET" },
} as const;

function parsePrefixOf(
  family: Family,
  text: string,
  { path, name }: { readonly path: string; readonly name: string },
): Prefix {
  const prefix = parsePrefixMasked(text.trim());
  if (prefix !== undefined && familyOf(prefix) === family) return prefix;
  throw notLoaded(`${name} in ${path} has ${quoted(text)}, which is not an IPv${family} network`);
}

/** `open PATH: no such file or directory`, as Go writes it. */
function systemReason({ code, message }: NodeJS.ErrnoException, path: string): string {
  const text = /^E[A-Z0-9]+: ([^,]+)/.exec(message)?.[1];
  return code === undefined || text === undefined ? message : `open ${path}: ${text}`;
}

function notLoaded(reason: string): CniError {
  return new CniError(CNI_CODES.tryAgainLater, `loadFlannelSubnetEnv failed: ${reason}`);
}
