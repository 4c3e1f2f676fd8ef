/** charon's UDP ports, 500 and 4500: without the right to use them, it runs and says nothing. */

import { readFileSync } from "node:fs";
import { BackendError } from "../../overlay/backend_error.ts";
import { CAP_NET_BIND_SERVICE, lacksCapability } from "../../process/capabilities.ts";

/** The lower one of the two (RFC 7296 2). */
const IKE_PORT = 500;
/** Of a host; ip-sysctl(docs.kernel.org), ip_unprivileged_port_start. */
const FIRST_UNPRIVILEGED_PORT = 1024;

/**
 * Throws `BackendError` if a charon that this process starts cannot listen. `status` is
 * /proc/self/status, `firstUnprivilegedPort` that of this network namespace.
 */
export function requireIkePorts(
  status?: string,
  firstUnprivilegedPort = readFirstUnprivilegedPort(),
): void {
  if (IKE_PORT >= firstUnprivilegedPort || !lacksCapability(CAP_NET_BIND_SERVICE, status)) return;
  throw new BackendError(
    `missing CAP_NET_BIND_SERVICE, which charon needs for UDP port ${IKE_PORT}: grant it ` +
      "(CapabilityBoundingSet= and AmbientCapabilities= in a systemd unit, " +
      "securityContext.capabilities of a container)",
  );
}

function readFirstUnprivilegedPort(): number {
  try {
    return Number(readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8"));
  } catch {
    return FIRST_UNPRIVILEGED_PORT;
  }
}
