/**
 * The program `install-conf` of Go flannel's image, for manifests written for it: copies a file
 * atomically.
 */

import { OperatorError } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import { copyConfig } from "../cni/cni_installation.ts";

/** Returns the exit status. */
export async function installConf(
  { source, target }: { readonly source: string; readonly target: string },
  err: (text: string) => void,
): Promise<number> {
  try {
    await copyConfig(source, target);
    return 0;
  } catch (error) {
    if (!(error instanceof OperatorError)) throw error;
    err(`install-conf: ${printableLine(error.message)}\n`);
    return 1;
  }
}
