/** Addresses of UNIX sockets (unix(7)). */

import { AF_UNIX } from "./linux.ts";

const SUN_PATH_BYTES = 108; // linux/un.h, UNIX_PATH_MAX

/**
 * `struct sockaddr_un`: the family in host byte order, then the path. A path that begins with `@`
 * is in the abstract namespace. Throws `RangeError` for an empty or too long path.
 */
export function unixAddress(path: string): Uint8Array {
  const name = new TextEncoder().encode(path);
  // A path needs a final zero byte; an abstract name begins with one instead.
  if (name.length === 0 || name.length >= SUN_PATH_BYTES) {
    throw new RangeError(
      `invalid socket path "${path}": it must have 1 to ${SUN_PATH_BYTES - 1} bytes`,
    );
  }
  const isAbstract = path.startsWith("@");
  const address = new Uint8Array(2 + name.length + (isAbstract ? 0 : 1));
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, 2);
  if (isAbstract) address[2] = 0;
  return address;
}
