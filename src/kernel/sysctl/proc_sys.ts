/**
 * Kernel parameters below /proc/sys (Documentation/admin-guide/sysctl). /proc/sys/net shows the
 * network namespace of the calling thread.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Sysctl } from "../../state/resource.ts";
import { KernelError } from "../wire/kernel_error.ts";

/**
 * The value without its line end; `undefined` if the parameter does not exist. Throws
 * `KernelError`.
 */
export function readSysctl(path: string): Promise<string | undefined> {
  return Promise.try(() => readSysctlNow(path));
}

/** `readSysctl`, synchronous. */
export function readSysctlNow(path: string): string | undefined {
  try {
    // Synchronous: the runtime's thread pool may be in another network namespace.
    return readFileSync(filePath(path), "utf8").trimEnd();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw new KernelError({ operation: `read sysctl ${path}`, errno: codeOf(error), cause: error });
  }
}

/**
 * Sets a parameter unless it has this value already: in a container, /proc/sys is often read-only.
 * Returns the error, if any, instead of throwing it.
 */
export function writeSysctl(sysctl: Sysctl): KernelError | undefined {
  try {
    if (readSysctlNow(sysctl.path) === sysctl.value) return undefined;
    writeFileSync(filePath(sysctl.path), sysctl.value, { flag: "r+" });
    return undefined;
  } catch (error) {
    const operation = `set sysctl ${sysctl.path} to ${sysctl.value}`;
    if (error instanceof KernelError) return error;
    return new KernelError({
      operation,
      errno: codeOf(error),
      extack: hintFor(sysctl),
      cause: error,
    });
  }
}

function hintFor({ path, value }: Sysctl): string | undefined {
  if (!existsSync("/proc/sys")) {
    return "there is no /proc/sys: remove ProcSubset=pid from the systemd unit, or mount /proc";
  }
  if (path.startsWith("net/ipv6/") && !existsSync(filePath("net/ipv6"))) {
    return "this kernel has no IPv6: remove ipv6.disable=1 from its command line";
  }
  const [, parameter] = /^net\/ipv6\/conf\/[^/]+\/(\w+)$/.exec(path) ?? [];
  return parameter &&
    `on the host, run "sysctl -w net.ipv6.conf.default.${parameter}=${value}" for new devices, ` +
      `and "sysctl -w ${
        path.replaceAll(".", "#").replaceAll("/", ".").replaceAll("#", "/")
      }=${value}"`;
}

function filePath(path: string): string {
  if (path.startsWith("/") || path.split("/").includes("..")) {
    throw new RangeError(`${path} is not a relative path below /proc/sys`);
  }
  return `/proc/sys/${path}`;
}

function codeOf(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") {
    return error.code;
  }
  throw error;
}
