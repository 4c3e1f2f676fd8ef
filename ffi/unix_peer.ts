/** The process at the other end of a UNIX socket, for which the runtime has no API. */

import { errnoName } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import * as k from "./linux.ts";
import { addressOf } from "./memory.ts";
import { unixAddress } from "./unix_address.ts";

export interface UnixPeer {
  /** 0 for a process outside of this one's pid namespace. */
  readonly pid: number;
  readonly uid: number;
}

/**
 * The process that listens on a stream socket, as it was when it started to (SO_PEERCRED, unix(7)).
 * `undefined` if no process listens, or the queue of its connections is full.
 */
export function unixListener(path: string): UnixPeer | undefined {
  const probe = probeUnixSocket(path);
  return typeof probe === "object" ? probe : undefined;
}

/**
 * The process that listens on a stream socket; `refused` if none does, `unknown` if that cannot be
 * determined, for example because the queue of its connections is full.
 */
export function probeUnixSocket(path: string): UnixPeer | "refused" | "unknown" {
  const address = unixAddress(path);
  const socket = libc().socket(k.AF_UNIX, k.SOCK_STREAM | k.SOCK_NONBLOCK | k.SOCK_CLOEXEC, 0);
  if (socket < 0) return "unknown";
  try {
    if (libc().connect(socket, addressOf(address), address.length) < 0) {
      return errnoName(errno()) === "ECONNREFUSED" ? "refused" : "unknown";
    }
    return unixPeerOf(socket) ?? "unknown";
  } finally {
    libc().close(socket);
  }
}

/** The process at the other end of a connected socket, a file descriptor. */
export function unixPeerOf(socket: number): UnixPeer | undefined {
  const credentials = new Uint8Array(k.ucred.size);
  const length = new Uint32Array([credentials.length]);
  const [at, lengthAt] = [addressOf(credentials), addressOf(length)];
  if (libc().getsockopt(socket, k.SOL_SOCKET, k.SO_PEERCRED, at, lengthAt) < 0) return undefined;
  const view = new DataView(credentials.buffer);
  return { pid: view.getInt32(k.ucred.pid, true), uid: view.getUint32(k.ucred.uid, true) };
}
