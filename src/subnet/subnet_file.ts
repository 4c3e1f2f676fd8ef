/**
 * The subnet file. CNI plugins, Docker and this program's next run read the node's subnet from it.
 * Lines of `NAME=value`, as systemd's EnvironmentFile= and the shell's `.` accept them.
 */

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import ini from "ini";
import { entriesOf, familiesOf, type PerFamily } from "../addr/family.ts";
import { addressValue, FAMILIES, type Family, familyOf, formatAddress } from "../addr/ip.ts";
import { parsePrefixMasked, type Prefix, prefixAddress, prefixLength } from "../addr/prefix.ts";
import { errorMessage, OperatorError } from "../base/operator_error.ts";
import {
  readRegularText,
  RegularFileError,
  replaceFile,
  requireDirectoryFor,
  requireReplaceable,
} from "../base/regular_file.ts";

export interface SubnetFile {
  readonly networks: PerFamily<Prefix>;
  readonly subnets: PerFamily<Prefix>;
  /** MTU for workloads. */
  readonly mtuBytes: number;
  readonly ipMasq: boolean;
}

/** What an earlier run wrote; a part whose line is missing or invalid is absent. */
export type PreviousSubnetFile = Pick<SubnetFile, "networks" | "subnets">;

/** `--subnet-file` is not a path where a file can be written, or the file is incomplete. */
export class SubnetFileError extends OperatorError {
  override readonly name = "SubnetFileError";
}

/**
 * Reads the file of an earlier run. A missing file is empty; an invalid line or an unreadable
 * file is ignored with one line to `warn`.
 */
export function readSubnetFile(
  path: string,
  warn: (message: string) => void,
): PreviousSubnetFile {
  try {
    return parsePreviousSubnetFile(
      readRegularText(path, MAX_FILE_BYTES),
      (message) => warn(`subnet file ${path}: ${message}`),
    );
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") warn(`cannot read subnet file ${path}: ${message}; ignoring it`);
    return { networks: {}, subnets: {} };
  }
}

/**
 * Throws `SubnetFileError` unless the path is a regular file, or a symbolic link to one, or does
 * not exist and can be created. Other errors of the system are ignored here: the write reports
 * them and is retried.
 */
export function checkSubnetFile(path: string): void {
  try {
    requireDirectoryFor(path);
    requireReplaceable(path);
  } catch (cause) {
    const isLoop = (cause as NodeJS.ErrnoException).code === "ELOOP";
    if (!(cause instanceof RegularFileError || isLoop)) return;
    const reason = isLoop ? `${path} is a loop of symbolic links` : errorMessage(cause);
    throw new SubnetFileError(
      `cannot write the subnet file: ${reason}; set --subnet-file to a regular file or to a ` +
        "path that does not exist",
      { cause },
    );
  }
}

/**
 * Replaces the whole file, mode 0644, and creates its parent directories. A file with the same
 * content is not written. Throws the file system's error, and `RegularFileError` if the path is
 * not a file.
 */
export async function writeSubnetFile(path: string, content: SubnetFile): Promise<void> {
  const text = formatSubnetFile(content);
  if (textOf(path) === text) return;
  await mkdir(dirname(path), { recursive: true });
  await replaceFile(path, text, { mode: 0o644, flush: true });
}

/** More than any subnet file has, including lines of other programs. */
const MAX_FILE_BYTES = 64 * 1024;

function textOf(path: string): string | undefined {
  try {
    return readRegularText(path, MAX_FILE_BYTES);
  } catch {
    return undefined;
  }
}

/** The file's text, in the order in which flannel writes it. */
export function formatSubnetFile(content: SubnetFile): string {
  const lines: string[] = [];
  for (const [family, subnet] of entriesOf(content.subnets)) {
    lines.push(
      `${NAMES[family].network}=${content.networks[family]}`,
      `${NAMES[family].subnet}=${bridgeAddress(subnet)}`,
    );
  }
  lines.push(`FLANNEL_MTU=${content.mtuBytes}`, `FLANNEL_IPMASQ=${content.ipMasq}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** The subnet's second address with its length: the address of this node's bridge. */
export function bridgeAddress(subnet: Prefix): string {
  const address = addressValue(prefixAddress(subnet)) + 1n;
  return `${formatAddress(familyOf(subnet), address)}/${prefixLength(subnet)}`;
}

/**
 * Reads the text as a container runtime needs it. Throws `SubnetFileError` that names the first
 * line that is invalid or missing.
 */
export function parseSubnetFile(text: string): SubnetFile {
  const refuse = (message: string) => {
    throw new SubnetFileError(`cannot read the subnet file: ${message}`);
  };
  const lines = new Map(subnetFileLines(text, refuse));
  const { networks, subnets } = readPrefixes(lines, refuse);
  if (familiesOf(subnets).length === 0) refuse("FLANNEL_SUBNET is missing");
  const mtu = lines.get("FLANNEL_MTU");
  if (mtu === undefined) refuse("FLANNEL_MTU is missing");
  const mtuBytes = Number(mtu);
  if (!(Number.isInteger(mtuBytes) && mtuBytes > 0)) {
    refuse(`FLANNEL_MTU is ${JSON.stringify(mtu)}, not a number of bytes`);
  }
  return { networks, subnets, mtuBytes, ipMasq: lines.get("FLANNEL_IPMASQ") === "true" };
}

/** Reads the text of an earlier run; see `readSubnetFile`. */
export function parsePreviousSubnetFile(
  text: string,
  warn: (message: string) => void,
): PreviousSubnetFile {
  const skip = (message: string) => warn(`${message}; skipping it`);
  return readPrefixes(subnetFileLines(text, skip), skip);
}

const NAMES = {
  4: { network: "FLANNEL_NETWORK", subnet: "FLANNEL_SUBNET" },
  6: { network: "FLANNEL_IPV6_NETWORK", subnet: "FLANNEL_IPV6_SUBNET" },
} as const;

/**
 * The variables of the file. Each line is parsed alone, so that an invalid one, which is passed to
 * `skip`, affects no other.
 */
export function* subnetFileLines(
  text: string,
  skip: (message: string) => void,
): Generator<[string, string]> {
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*([#;]|$)/.test(line)) continue;
    const entries = Object.entries<unknown>(ini.parse(line.replace(/^export\s/, "")));
    const [name, value] = entries[0] ?? [];
    if (name === undefined || typeof value === "object" || !line.includes("=")) {
      skip(`line ${index + 1} is not NAME=value`);
    } else {
      yield [name, String(value)];
    }
  }
}

function readPrefixes(
  lines: Iterable<[string, string]>,
  skip: (message: string) => void,
): PreviousSubnetFile {
  const networks: { 4?: Prefix; 6?: Prefix } = {};
  const subnets: { 4?: Prefix; 6?: Prefix } = {};
  for (const [name, value] of lines) {
    for (const family of FAMILIES) {
      const target = name === NAMES[family].network
        ? networks
        : name === NAMES[family].subnet
        ? subnets
        : undefined;
      if (target === undefined) continue;
      const prefix = readPrefix(value, family);
      if (prefix === undefined) {
        skip(`${name} is ${JSON.stringify(value)}, not one IPv${family} network`);
      } else {
        target[family] = prefix;
      }
    }
  }
  return { networks, subnets };
}

function readPrefix(value: string, family: Family): Prefix | undefined {
  const prefix = parsePrefixMasked(value);
  return prefix !== undefined && familyOf(prefix) === family ? prefix : undefined;
}
