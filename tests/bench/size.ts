/** Size of the executables, as they are and compressed. */

import { statSync } from "node:fs";
import { runProgram } from "../../src/process/run_program.ts";
import type { Bench } from "./bench.ts";
import type { Row } from "./table.ts";

export async function benchSize(bench: Bench): Promise<Row[]> {
  const against = bench.theirs.name;
  const row = async (what: string, measure: (path: string) => Promise<number>): Promise<Row> => ({
    what,
    unit: "MiB",
    ours: await measure(bench.ours.path) / MIB,
    theirs: await measure(bench.theirs.path) / MIB,
    against,
  });
  return [
    await row("executable", (path) => Promise.resolve(statSync(path).size)),
    await row("executable, gzip -6", (path) => compressedSize("gzip -6", path)),
    await row("executable, xz -6", (path) => compressedSize("xz -6 -T0", path)),
  ];
}

const MIB = 1024 * 1024;

async function compressedSize(compressor: string, path: string): Promise<number> {
  const script = `${compressor} <"$0" | wc -c`;
  const { exitCode, stdout, stderr } = await runProgram("sh", ["-c", script, path], {
    timeoutMs: 300_000,
  });
  if (exitCode !== 0 || stderr !== "") throw new Error(`cannot compress ${path}: ${stderr}`);
  return Number(stdout);
}
