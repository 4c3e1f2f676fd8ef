/** This program, run from source as a user would run it. */

import { join } from "node:path";

const PROGRAM = [process.execPath, join(import.meta.dir, "../../src/main.ts")];

export interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

export async function runProgram(args: readonly string[], input = ""): Promise<Outcome> {
  const child = Bun.spawn([...PROGRAM, ...args], {
    stdin: new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exitCode, out, err };
}
