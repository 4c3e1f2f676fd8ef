/** The paths of charon's files and sockets. */

import { join } from "node:path";
import { BackendError } from "../../overlay/backend_error.ts";

/** Environment variable with the control socket of a charon that the operator runs. */
export const SOCKET_VARIABLE = "CHARON_VICI_SOCKET";

/**
 * charon's default socket. flanneld's charon has another one: a second charon replaces this socket
 * before it notices that it cannot run.
 */
export const SYSTEM_SOCKET = "/var/run/charon.vici";

/** The settings of flanneld's charon. */
export function settingsFile(runDirectory: string): string {
  return join(runDirectory, "strongswan.conf");
}

/** The control socket of flanneld's charon. Throws `BackendError` if its path is too long. */
export function ownSocket(runDirectory: string): string {
  const path = join(runDirectory, "charon.vici");
  if (Buffer.byteLength(path) > SOCKET_PATH_MAX_BYTES) {
    throw new BackendError(
      `the path of charon's socket, ${path}, is longer than the ${SOCKET_PATH_MAX_BYTES} bytes ` +
        "that Linux allows; choose a shorter directory for --subnet-file",
    );
  }
  return path;
}

const SOCKET_PATH_MAX_BYTES = 107; // struct sockaddr_un, unix(7)
