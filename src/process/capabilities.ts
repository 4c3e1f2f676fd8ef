/** The capabilities of this process (capabilities(7)). */

import { readFileSync } from "node:fs";

/** Bits of a set of capabilities; linux/capability.h. */
export const CAP_NET_BIND_SERVICE = 10n;
export const CAP_NET_ADMIN = 12n;
export const CAP_NET_RAW = 13n;

/**
 * Whether this process lacks a capability; `status` is /proc/self/status (proc_pid_status(5)). If
 * that cannot be read, it lacks none: later steps fail.
 */
export function lacksCapability(bit: bigint, status: string = readStatus()): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return effective !== undefined && (BigInt(`0x${effective}`) >> bit & 1n) === 0n;
}

/** Empty without /proc. */
function readStatus(): string {
  try {
    return readFileSync("/proc/self/status", "utf8");
  } catch {
    return "";
  }
}
