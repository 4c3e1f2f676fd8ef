/**
 * The network namespace of the process that listens at a UNIX socket. `ip netns exec`, and
 * containers that mount the host's /run, change the network but not /run: a process that listens
 * there may serve another namespace, and its devices and tunnels are useless in this one.
 */

import { readFileSync } from "node:fs";
import { unixListener } from "../../ffi/unix_peer.ts";
import { namespaceOf } from "./proc_files.ts";

export type ListenerNamespace =
  /** In this process's network namespace. */
  | { readonly kind: "here" }
  /** In another one, such as `net:[4026532888]`. */
  | { readonly kind: "elsewhere"; readonly pid: number; readonly namespace: string }
  /** In another one, but its process cannot be determined. */
  | { readonly kind: "hidden" }
  /** Nothing listens there. */
  | { readonly kind: "absent" };

/** The network namespace of the process that listens at this path. */
export function listenerNamespace(socket: string): ListenerNamespace {
  const listener = unixListener(socket);
  if (listener === undefined) return { kind: "absent" };
  const { pid } = listener;
  const namespace = namespaceOf(pid, "net");
  // A process that has passed its socket on and ended (wireguard-go's first one) may have had its
  // process ID reused.
  if (namespace !== undefined && isBound(pid, socket)) {
    return namespace === ownNamespace() ? { kind: "here" } : { kind: "elsewhere", pid, namespace };
  }
  return { kind: isBound("thread-self", socket) ? "here" : "hidden" };
}

/** This process's network namespace, such as `net:[4026531840]`. */
export function ownNamespace(): string {
  return namespaceOf("thread-self", "net") ?? "unknown";
}

/** What to do when daemons in different network namespaces share one /run. */
export const OWN_RUN =
  "give each network namespace its own /run (mount --bind DIRECTORY /run, in a mount namespace)";

/**
 * Whether a socket listens at this path in the network namespace of a process: /proc/PID/net/unix
 * lists only those. The path is the one that the listening process used. (Accepted connections have
 * the same path, but belong to the namespace of the client.)
 */
function isBound(pid: number | "thread-self", path: string): boolean {
  try {
    const sockets = readFileSync(`/proc/${pid}/net/unix`, "utf8").split("\n");
    return sockets.some((line) => {
      const [, flags, bound] = SOCKET_LINE.exec(line) ?? [];
      return flags === SO_ACCEPTCON && plainPath(bound ?? "") === plainPath(path);
    });
  } catch {
    return false; // The process has ended.
  }
}

/** Number, references, protocol, flags, type, state, inode, path. */
const SOCKET_LINE = /^\S+ \S+ \S+ (\S+) \S+ \S+ +\d+ (.+)$/;

/** __SO_ACCEPTCON of linux/net.h, as net/unix/af_unix.c prints it. */
const SO_ACCEPTCON = "00010000";

/** /var/run is a symbolic link to /run on every system with systemd (hier(7)). */
function plainPath(path: string): string {
  return path.replace(/^\/var\/run\//, "/run/");
}
