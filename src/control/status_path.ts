/** Where the status socket of a daemon is. */

import { basename, dirname, join, resolve } from "node:path";

/** The directory in which `flanneld status` looks for sockets. */
export const STATUS_DIRECTORY = "/run/flannel";
export const SOCKET_SUFFIX = ".sock";

/**
 * Next to the subnet file: `flanneld.sock` for `subnet.env`, and otherwise the file's name with
 * `.sock`, so that each of several daemons has its own.
 */
export function statusSocketPath(subnetFile: string): string {
  const path = resolve(subnetFile);
  const name = basename(path) === "subnet.env" ? "flanneld" : basename(path);
  return join(dirname(path), `${name}${SOCKET_SUFFIX}`);
}
