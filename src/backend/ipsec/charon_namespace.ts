/**
 * In which network namespace a charon is. Its tunnels are in the kernel's tables of that namespace, so
 * a daemon in another one has no use for it, although it may see the same files: `ip netns exec`
 * and containers that mount the host's /run change the network and keep /run.
 */

import { readFileSync } from "node:fs";
import { unixListener } from "../../../ffi/unix_peer.ts";
import { namespaceOf } from "../../process/proc_files.ts";
import { ViciError } from "./vici.ts";

export type CharonPlace =
  /** In this process's network namespace. */
  | { readonly kind: "here" }
  /** In another one, such as `net:[4026532888]`. */
  | { readonly kind: "elsewhere"; readonly pid: number; readonly namespace: string }
  /** In another PID namespace, and its socket is not known in this network namespace. */
  | { readonly kind: "hidden" }
  /** Nothing listens there. */
  | { readonly kind: "absent" };

/** Where the charon is that listens at this control socket. */
export function charonPlace(socket: string): CharonPlace {
  const listener = unixListener(socket);
  if (listener === undefined) return { kind: "absent" };
  const { pid } = listener;
  const namespace = pid === 0 ? undefined : namespaceOf(pid, "net");
  if (namespace === undefined) return { kind: isBoundHere(socket) ? "here" : "hidden" };
  return namespace === ownNamespace() ? { kind: "here" } : { kind: "elsewhere", pid, namespace };
}

/** This process's network namespace, such as `net:[4026531840]`. */
export function ownNamespace(): string {
  return namespaceOf("self", "net") ?? "unknown";
}

/** What to do where two daemons of different network namespaces see one /run. */
export const OWN_RUN =
  "give each network namespace a /run of its own (mount --bind DIRECTORY /run, in a mount namespace)";

/** A charon has our place and is of no use here: that does not change by starting another one. */
export class ForeignCharonError extends ViciError {
  constructor(socket: string, place: Extract<CharonPlace, { kind: "elsewhere" | "hidden" }>) {
    const what = place.kind === "hidden"
      ? "a process of another container"
      : `process ${place.pid} in network namespace ${place.namespace}`;
    const end = place.kind === "hidden" ? "" : `, or end that one with "kill ${place.pid}"`;
    super(
      "start",
      `the charon at ${socket} is ${what}, and this daemon is in ${ownNamespace()}, where that ` +
        `charon makes no tunnels; ${OWN_RUN}${end}`,
    );
  }
}

/**
 * Whether a socket of this network namespace was bound to this path: /proc/net/unix, whose last field
 * is the path as its own process saw it, lists no others.
 */
function isBoundHere(path: string): boolean {
  const bound = readFileSync("/proc/net/unix", "utf8").split("\n")
    .map((line) => plainPath(line.slice(line.lastIndexOf(" ") + 1)));
  return bound.includes(plainPath(path));
}

/** /var/run is a link to /run wherever there is a systemd (hier(7)). */
function plainPath(path: string): string {
  return path.replace(/^\/var\/run\//, "/run/");
}
