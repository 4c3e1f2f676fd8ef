/** Programs and root file systems for the tests, which scripts build once. */

import { runProgram } from "../../src/process/run_program.ts";

/**
 * The path that a script of the folder tests prints. A machine that cannot have it fails the test:
 * throws with the script's standard error.
 */
export async function provided(
  script: string,
  { args = [], timeoutMs }: { readonly args?: readonly string[]; readonly timeoutMs: number },
): Promise<string> {
  const path = new URL(`../${script}`, import.meta.url).pathname;
  const { exitCode, stdout, stderr } = await runProgram("bash", [path, ...args], {
    timeoutMs,
    env: process.env, // Go's settings
  });
  if (exitCode !== 0) throw new Error(`tests/${script} failed: ${stderr.trim()}`);
  return stdout.trim();
}
