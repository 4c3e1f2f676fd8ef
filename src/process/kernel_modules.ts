/** Kernel modules (modprobe(8)). */

import { ProcessError, run } from "./process.ts";
import { findProgram } from "./programs.ts";

/**
 * Loads modules, where they are not loaded yet or built in. Whether it could be done; a container
 * mostly lacks the program or the right, and the kernel may still load them itself when asked. Throws
 * only the signal's reason.
 */
export async function loadModules(
  names: readonly string[],
  options: { readonly signal?: AbortSignal } = {},
): Promise<boolean> {
  if (findProgram("modprobe") === undefined) return false;
  try {
    const { exitCode } = await run("modprobe", ["--quiet", "--all", ...names], options);
    return exitCode === 0;
  } catch (error) {
    if (error instanceof ProcessError) return false;
    throw error;
  }
}
