/** Runs a program of the host that has to succeed. */

import { runProgram } from "../../src/process/run_program.ts";

/** Throws with the command and its standard error when it fails. */
export async function runCommand(
  program: string,
  args: readonly string[],
  stdin?: string | Uint8Array,
): Promise<void> {
  const result = await runProgram(program, args, stdin === undefined ? {} : { stdin });
  if (result.exitCode === 0) return;
  throw new Error(`${program} ${args.join(" ")} failed: ${result.stderr.trim()}`);
}
