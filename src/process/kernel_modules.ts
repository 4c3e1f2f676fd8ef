/** Kernel modules (modprobe(8)). */

import { runProgram } from "./run_program.ts";
import { ProcessError } from "./process_error.ts";
import { findProgram } from "./program_lookup.ts";

/**
 * Loads modules that are neither loaded nor built in. Returns whether that succeeded: containers
 * mostly lack modprobe or the privilege, and the kernel may still load a module itself when it is
 * needed. Throws only the signal's reason.
 */
export async function loadModules(
  names: readonly string[],
  options: { readonly signal?: AbortSignal } = {},
): Promise<boolean> {
  if (findProgram("modprobe") === undefined) return false;
  try {
    const { exitCode } = await runProgram("modprobe", ["--quiet", "--all", ...names], options);
    return exitCode === 0;
  } catch (error) {
    if (error instanceof ProcessError) return false;
    throw error;
  }
}
