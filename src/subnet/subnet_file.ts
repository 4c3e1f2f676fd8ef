/**
 * The subnet file: what CNI plugins, Docker and this program's next run read to learn the node's
 * subnet. Lines of `NAME=value`, as systemd's EnvironmentFile= and `.` of a shell take them.
 */

import { OperatorError } from "../base/operator_error.ts";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import ini from "ini";
import { familiesOf, type PerFamily } from "../addr/family.ts";
import { addressValue, FAMILIES, type Family, familyOf, formatAddress } from "../addr/ip.ts";
import {
  readRegularText,
  RegularFileError,
  replaceFile,
  requireDirectoryFor,
  requireReplaceable,
} from "../base/regular_file.ts";
import { parsePrefixMasked, type Prefix, prefixAddress, prefixLength } from "../addr/prefix.ts";

export interface SubnetFile {
  readonly networks: PerFamily<Prefix>;
  readonly subnets: PerFamily<Prefix>;
  /** MTU for workloads. */
  readonly mtuBytes: number;
  readonly ipMasq: boolean;
}

/** What an earlier run left; each part is there only if its line could be read. */
export type PreviousSubnetFile = Pick<SubnetFile, "networks" | "subnets">;

/**
 * Reads the file of an earlier run. A missing file gives nothing; a line that cannot be read, and a
 * file that cannot, is skipped with one line to `warn`.
 */
export function readSubnetFile(
  path: string,
  warn: (message: string) => void,
): PreviousSubnetFile {
  try {
    return parseSubnetFile(
      readRegularText(path, MAX_FILE_BYTES),
      (message) => warn(`subnet file ${path}: ${message}`),
    );
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") warn(`cannot read subnet file ${path}: ${message}; it is ignored`);
    return { networks: {}, subnets: {} };
  }
}

/** `--subnet-file` is not a path where a file can be written. */
export class SubnetFileError extends OperatorError {
  override readonly name = "SubnetFileError";
}

/**
 * Throws `SubnetFileError` unless the path is a regular file or a symbolic link to one, or does not exist
 * and can be made.
 * Other errors of the system are ignored here: writing fails later, and is retried.
 */
export function checkSubnetFile(path: string): void {
  try {
    requireDirectoryFor(path);
    requireReplaceable(path);
  } catch (cause) {
    const isLoop = (cause as NodeJS.ErrnoException).code === "ELOOP";
    if (!(cause instanceof RegularFileError || isLoop)) return;
    const reason = isLoop ? `${path} is a loop of symbolic links` : (cause as Error).message;
    throw new SubnetFileError(
      `cannot write the subnet file: ${reason}; set --subnet-file to a regular file or to a ` +
        "path that does not exist",
      { cause },
    );
  }
}

/**
 * Replaces the file as a whole, mode 0644, and makes its parent directories; a file that says the
 * same is left alone. Throws the file system's error, and `RegularFileError` for anything but a file.
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

/** The file's text, in the order in which flannel has always written it. */
export function formatSubnetFile(content: SubnetFile): string {
  const lines: string[] = [];
  for (const family of familiesOf(content.subnets)) {
    lines.push(
      `${NAMES[family].network}=${content.networks[family]}`,
      `${NAMES[family].subnet}=${firstUsable(content.subnets[family] as Prefix)}`,
    );
  }
  lines.push(`FLANNEL_MTU=${content.mtuBytes}`, `FLANNEL_IPMASQ=${content.ipMasq}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** Reads the file's text; see `readSubnetFile`. */
export function parseSubnetFile(
  text: string,
  warn: (message: string) => void,
): PreviousSubnetFile {
  const networks: { 4?: Prefix; 6?: Prefix } = {};
  const subnets: { 4?: Prefix; 6?: Prefix } = {};
  for (const [name, value] of readLines(text, warn)) {
    for (const family of FAMILIES) {
      const target = name === NAMES[family].network
        ? networks
        : name === NAMES[family].subnet
        ? subnets
        : undefined;
      if (target === undefined) continue;
      const prefix = readPrefix(value, family);
      if (prefix === undefined) {
        warn(`${name} is ${JSON.stringify(value)}, not one IPv${family} network; it is skipped`);
      } else {
        target[family] = prefix;
      }
    }
  }
  return { networks, subnets };
}

const NAMES = {
  4: { network: "FLANNEL_NETWORK", subnet: "FLANNEL_SUBNET" },
  6: { network: "FLANNEL_IPV6_NETWORK", subnet: "FLANNEL_IPV6_SUBNET" },
} as const;

/** Each line on its own, so that a broken one costs no other. */
function* readLines(text: string, warn: (message: string) => void): Generator<[string, string]> {
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*([#;]|$)/.test(line)) continue;
    const entries = Object.entries<unknown>(ini.parse(line.replace(/^export\s/, "")));
    const [name, value] = entries[0] ?? [];
    if (name === undefined || typeof value === "object" || !line.includes("=")) {
      warn(`line ${index + 1} is not NAME=value; it is skipped`);
    } else {
      yield [name, String(value)];
    }
  }
}

function readPrefix(value: string, family: Family): Prefix | undefined {
  const prefix = parsePrefixMasked(value);
  return prefix !== undefined && familyOf(prefix) === family ? prefix : undefined;
}

/** The subnet's second address with its length: the bridge's address on this node. */
function firstUsable(subnet: Prefix): string {
  const address = addressValue(prefixAddress(subnet)) + 1n;
  return `${formatAddress(familyOf(subnet), address)}/${prefixLength(subnet)}`;
}
