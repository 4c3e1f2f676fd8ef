/**
 * Kernel parameters below /proc/sys (Documentation/admin-guide/sysctl). /proc/sys/net shows the
 * network namespace of the calling thread. They are no netlink table: `dump` does not read them,
 * and nothing notifies of their change.
 */

import { readFileSync, writeFileSync } from "node:fs";
import type { Sysctl } from "../state/resource.ts";
import { KernelError } from "./kernel.ts";

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
    throw new KernelError(`read sysctl ${path}`, codeOf(error), undefined, { cause: error });
  }
}

/** Sets a parameter; gives the error, if any, instead of throwing it. */
export function writeSysctl(sysctl: Sysctl): KernelError | undefined {
  try {
    writeFileSync(filePath(sysctl.path), sysctl.value, { flag: "r+" });
    return undefined;
  } catch (error) {
    const operation = `set sysctl ${sysctl.path} to ${sysctl.value}`;
    return new KernelError(operation, codeOf(error), undefined, { cause: error });
  }
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
