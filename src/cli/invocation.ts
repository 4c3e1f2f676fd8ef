/**
 * Which of its programs the executable is started as. Pure, and quick to load: pods wait for the
 * CNI plugin.
 */

import { posix } from "node:path";

export type Invocation =
  /** The CNI plugin, at work. */
  | { readonly program: "cni" }
  /** Go flannel's copying program for the init containers of its manifest. */
  | { readonly program: "install-conf"; readonly args: readonly string[] }
  | { readonly program: "flanneld"; readonly args: readonly string[] };

/**
 * `argv0`: the name by which it was started, with or without a directory. A container runtime
 * starts the plugin under the name `flannel`, without arguments; with arguments, that is the
 * daemon, because `go install` gives Go's daemon this name.
 */
export function parseInvocation(argv0: string, args: readonly string[]): Invocation {
  const name = posix.basename(argv0);
  if (name === "flannel" && args.length === 0) return { program: "cni" };
  if (name === "install-conf") return { program: "install-conf", args };
  if (args.length === 1 && args[0] === "cni") return { program: "cni" };
  return { program: "flanneld", args };
}
