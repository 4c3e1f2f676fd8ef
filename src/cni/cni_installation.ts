/** Installs the plugin and its configuration on a node: what the init containers of a pod do. */

import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
} from "node:fs";
import { chmod, copyFile, mkdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { errorMessage, OperatorError } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import { readRegularFile, readRegularText, replaceFile } from "../base/regular_file.ts";
import { checkConflist } from "./conflist.ts";
import { MAX_CONFIG_BYTES } from "./plugin_config.ts";

/** The plugin or its configuration could not be installed. */
export class InstallError extends OperatorError {
  override readonly name = "InstallError";
}

/** The name by which Go flannel's manifest installs it, so that there is one. */
export const CONFLIST_NAME = "10-flannel.conflist";

/**
 * Checks the list of plugins and copies it to `10-flannel.conflist`, atomically. Returns the lines
 * that say what was done. Throws `InstallError`.
 */
export async function installConflist(
  { source, directory }: { readonly source: string; readonly directory: string },
): Promise<string[]> {
  const target = join(directory, CONFLIST_NAME);
  return await explained(`cannot install ${source} as ${target}`, async () => {
    const text = readRegularText(source, MAX_CONFIG_BYTES);
    checkConflist(text);
    await mkdir(directory, { recursive: true });
    if (hasContent(target, Buffer.from(text))) return [`${target} is up to date`];
    await replaceFile(target, text, { mode: 0o644, flush: true });
    return [`installed ${target}`];
  });
}

/**
 * The configurations that a container runtime prefers to `10-flannel.conflist`: it uses the first
 * one by name.
 */
export function preferredConfigs(directory: string): string[] {
  try {
    return readdirSync(directory).sort()
      .filter((name) => /\.(conf|conflist|json)$/.test(name) && name < CONFLIST_NAME);
  } catch {
    return []; // The copy reports it.
  }
}

/**
 * Copies a file as it is, with its mode, atomically: Go flannel's `install-conf`. Throws
 * `InstallError`.
 */
export async function copyConfig(source: string, target: string): Promise<void> {
  await explained(`cannot install ${source} as ${target}`, async () => {
    const { bytes, mode } = readRegularFile(source, MAX_CONFIG_BYTES);
    await replaceFile(target, bytes, { mode: mode & 0o777, flush: true });
  });
}

/**
 * Copies this executable to `flannel`, atomically, unless it is there. Returns the line that says
 * what was done. Throws `InstallError`.
 */
export async function installPlugin(
  { executable, directory, clock }: {
    readonly executable: string;
    readonly directory: string;
    readonly clock: Pick<Clock, "wallMs">;
  },
): Promise<string> {
  const target = join(directory, "flannel");
  return await explained(`cannot install the CNI plugin as ${target}`, async () => {
    await mkdir(directory, { recursive: true });
    removeAbandoned(target, clock);
    if (isSameExecutable(executable, target)) return `${target} is up to date`;
    await replaceExecutable(executable, target);
    return `installed ${target}`;
  });
}

async function explained<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    throw new InstallError(`${what}: ${printableLine(errorMessage(cause))}`, { cause });
  }
}

function hasContent(path: string, content: Uint8Array): boolean {
  try {
    return readRegularFile(path, MAX_CONFIG_BYTES).bytes.equals(content);
  } catch {
    return false;
  }
}

/** It may be running: it is replaced, never written to. */
async function replaceExecutable(source: string, target: string): Promise<void> {
  const suffix = Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex");
  const temporary = `${target}.${suffix}.tmp`;
  try {
    await copyFile(source, temporary, constants.COPYFILE_EXCL);
    await chmod(temporary, 0o755);
    flushFile(temporary);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function flushFile(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** A copy takes seconds. */
const ABANDONED_MS = 10 * 60_000;

/** Removes what a killed copy has left: each has the size of the executable. */
function removeAbandoned(target: string, clock: Pick<Clock, "wallMs">): void {
  const pattern = new RegExp(`^${basename(target)}\\.[0-9a-f]{16}\\.tmp$`);
  for (const name of readdirSync(dirname(target))) {
    if (!pattern.test(name)) continue;
    const path = join(dirname(target), name);
    const status = statSync(path, { throwIfNoEntry: false });
    if (status === undefined || clock.wallMs() - status.mtimeMs < ABANDONED_MS) continue;
    rmSync(path, { force: true });
  }
}

const CHUNK_BYTES = 1024 * 1024;

function isSameExecutable(source: string, target: string): boolean {
  const status = statSync(target, { throwIfNoEntry: false });
  if (!status?.isFile() || (status.mode & 0o111) !== 0o111) return false;
  if (status.size !== statSync(source).size) return false;
  const [a, b] = [openSync(source, "r"), openSync(target, "r")];
  try {
    const [left, right] = [Buffer.allocUnsafe(CHUNK_BYTES), Buffer.allocUnsafe(CHUNK_BYTES)];
    for (;;) {
      const [count, other] = [readSync(a, left), readSync(b, right)];
      if (count !== other || !left.subarray(0, count).equals(right.subarray(0, other))) {
        return false;
      }
      if (count === 0) return true;
    }
  } finally {
    closeSync(a);
    closeSync(b);
  }
}
