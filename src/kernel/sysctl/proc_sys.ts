/**
 * Kernel parameters below /proc/sys (Documentation/admin-guide/sysctl). /proc/sys/net shows the
 * network namespace of the calling thread. They are no netlink table: `dump` does not read them,
 * and nothing notifies of their change.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { Sysctl } from "../../state/resource.ts";
import { KernelError } from "../wire/kernel_error.ts";

/** The value without its line end; `undefined` if there is no such parameter. Throws `KernelError`. */
export function readSysctl(path: string): Promise<string | undefined> {
  return Promise.try(() => readSysctlNow(path));
}

/** `readSysctl` for where nothing else may happen meanwhile. */
export function readSysctlNow(path: string): string | undefined {
  try {
    // Not by a thread of the runtime's pool, which may be in another namespace.
    return readFileSync(filePath(path), "utf8").trimEnd();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw new KernelError({ operation: `read sysctl ${path}`, errno: codeOf(error), cause: error });
  }
}

/**
 * Sets a parameter if it has another value; returns the error, if any, instead of throwing it. In a
 * container /proc/sys is often read-only, but the value may already be right.
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
  if (path.startsWith("net/ipv6/") && !existsSync(filePath("net/ipv6"))) {
    return "this kernel has no IPv6: take ipv6.disable=1 off its command line";
  }
  const [, parameter] = /^net\/ipv6\/conf\/[^/]+\/(\w+)$/.exec(path) ?? [];
  return parameter &&
    `on the host, run "sysctl -w net.ipv6.conf.default.${parameter}=${value}" for new devices, and ` +
      `"sysctl -w ${path.replaceAll(".", "#").replaceAll("/", ".").replaceAll("#", "/")}=${value}"`;
}

function filePath(path: string): string {
  if (path.startsWith("/") || path.split("/").includes("..")) {
    throw new RangeError(`${path} is not a path below /proc/sys`);
  }
  return `/proc/sys/${path}`;
}

function codeOf(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") {
    return error.code;
  }
  throw error;
}
