/**
 * In which network namespace the process is that listens at a UNIX socket. `ip netns exec` and
 * containers that mount the host's /run change the network and keep /run: what answers there may hold
 * devices and tunnels of another namespace, for which a daemon of this one has no use.
 */

import { readFileSync } from "node:fs";
import { unixListener } from "../../ffi/unix_peer.ts";
import { namespaceOf } from "./proc_files.ts";

export type ListenerNamespace =
  /** In this process's network namespace. */
  | { readonly kind: "here" }
  /** In another one, such as `net:[4026532888]`. */
  | { readonly kind: "elsewhere"; readonly pid: number; readonly namespace: string }
  /** Its process is not known, and its socket not to this network namespace. */
  | { readonly kind: "hidden" }
  /** Nothing listens there. */
  | { readonly kind: "absent" };

/** Where the process is that listens at this path. */
export function listenerNamespace(socket: string): ListenerNamespace {
  const listener = unixListener(socket);
  if (listener === undefined) return { kind: "absent" };
  const { pid } = listener;
  const namespace = namespaceOf(pid, "net");
  // One that has handed its socket on and ended, as wireguard-go's first process, may have left its
  // number to another process.
  if (namespace !== undefined && isBound(pid, socket)) {
    return namespace === ownNamespace() ? { kind: "here" } : { kind: "elsewhere", pid, namespace };
  }
  return { kind: isBound("thread-self", socket) ? "here" : "hidden" };
}

/** This process's network namespace, such as `net:[4026531840]`. */
export function ownNamespace(): string {
  return namespaceOf("thread-self", "net") ?? "unknown";
}

/** What to do where two daemons of different network namespaces see one /run. */
export const OWN_RUN =
  "give each network namespace a /run of its own (mount --bind DIRECTORY /run, in a mount namespace)";

/**
 * Whether the network namespace of a process has a listening socket of this path: /proc/PID/net/unix
 * lists no others. The path is as its own process saw it. (The listener's ends of connections have it,
 * too, and are in the namespaces of those that connected.)
 */
function isBound(pid: number | "thread-self", path: string): boolean {
  try {
    const sockets = readFileSync(`/proc/${pid}/net/unix`, "utf8").split("\n");
    return sockets.some((line) => {
      const [, flags, bound] = SOCKET_LINE.exec(line) ?? [];
      return flags === SO_ACCEPTCON && plainPath(bound ?? "") === plainPath(path);
    });
  } catch {
    return false; // It has ended by now.
  }
}

/** Number, references, protocol, flags, type, state, inode, path. */
const SOCKET_LINE = /^\S+ \S+ \S+ (\S+) \S+ \S+ +\d+ (.+)$/;

/** __SO_ACCEPTCON of linux/net.h, as net/unix/af_unix.c prints it. */
const SO_ACCEPTCON = "00010000";

/** /var/run is a link to /run wherever there is a systemd (hier(7)). */
function plainPath(path: string): string {
  return path.replace(/^\/var\/run\//, "/run/");
}
