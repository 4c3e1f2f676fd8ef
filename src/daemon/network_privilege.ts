/** Whether this process may change the network; checked before anything else is started. */

import { CAP_NET_ADMIN, lacksCapability } from "../process/capabilities.ts";
import { NetworkError } from "./network_error.ts";

/** Throws `NetworkError` without CAP_NET_ADMIN; `status` is /proc/self/status. */
export function requireNetworkPrivilege(status?: string): void {
  if (!lacksCapability(CAP_NET_ADMIN, status)) return;
  throw new NetworkError(
    "missing CAP_NET_ADMIN: run flanneld as root, or grant it NET_ADMIN and NET_RAW " +
      "(AmbientCapabilities= in a systemd unit, securityContext.capabilities of a container)",
  );
}
