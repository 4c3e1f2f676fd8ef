/** Where charon's files and sockets are. */

import { join } from "node:path";
import { BackendError } from "../../overlay/backend_error.ts";

/** Control socket of a charon that somebody else runs, named in the environment. */
export const SOCKET_VARIABLE = "CHARON_VICI_SOCKET";

/**
 * Where charon listens unless it is told otherwise. Ours does not: another charon that is started
 * beside it takes this socket away before it sees that it cannot run.
 */
export const SYSTEM_SOCKET = "/var/run/charon.vici";

/** What a charon of our own is started with. */
export function settingsFile(runDirectory: string): string {
  return join(runDirectory, "strongswan.conf");
}

/** Control socket of a charon of our own. Throws `BackendError` if its path is too long. */
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
