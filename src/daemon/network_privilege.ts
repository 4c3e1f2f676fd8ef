/** Whether this process may change the network; checked before anything else is started. */

import { readFileSync } from "node:fs";
import { NetworkError } from "./network_error.ts";

/** Throws `NetworkError` without CAP_NET_ADMIN. If that cannot be determined, later steps fail. */
export function requireNetworkPrivilege(read: () => string = readStatus): void {
  const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(read())?.[1];
  if (capabilities === undefined || (BigInt(`0x${capabilities}`) & CAP_NET_ADMIN) !== 0n) return;
  throw new NetworkError(
    "missing CAP_NET_ADMIN: run flanneld as root, or grant it NET_ADMIN and NET_RAW " +
      "(AmbientCapabilities= in a systemd unit, securityContext.capabilities of a container)",
  );
}

/** Bit 12 of the effective capabilities; capabilities(7), linux/capability.h. */
const CAP_NET_ADMIN = 1n << 12n;

/** Empty without /proc; proc_pid_status(5). */
function readStatus(): string {
  try {
    return readFileSync("/proc/self/status", "utf8");
  } catch {
    return "";
  }
}
