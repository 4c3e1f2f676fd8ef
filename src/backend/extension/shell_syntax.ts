/** Checks the syntax of commands before they run. */

import { ConfigError } from "../../config/config_error.ts";
import { runProgram, type RunResult } from "../../process/run_program.ts";
import { ProcessError } from "../../process/process_error.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import type { ExtensionOptions } from "./extension_options.ts";

/**
 * Has the shell parse each command without running it (`sh -n`). Throws `ConfigError` with the
 * shell's message about the first invalid one, `BackendError` without a shell, or the reason of
 * `stop`.
 */
export async function checkSyntax(options: ExtensionOptions, stop: AbortSignal): Promise<void> {
  for (const [name, command] of Object.entries(options)) {
    if (typeof command !== "string" || command === "") continue;
    const { exitCode, stderr } = await readOnly(command, stop);
    if (exitCode === 0) continue;
    throw new ConfigError(
      `${name} in the network configuration's Backend object is not a valid shell command: ` +
        (stderr.trim().split("\n")[0] || `sh -n ended with status ${exitCode}`),
    );
  }
}

async function readOnly(command: string, stop: AbortSignal): Promise<RunResult> {
  try {
    return await runProgram("sh", ["-n", "-c", command], { signal: stop });
  } catch (error) {
    if (!(error instanceof ProcessError)) throw error;
    throw new BackendError(`${error.message}; the extension backend needs a shell`, {
      cause: error,
    });
  }
}
