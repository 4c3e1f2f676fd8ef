/** The entries of many peers put into the kernel, against iproute2's batches. */

import { runProgram } from "../../src/process/run_program.ts";
import type { Bench } from "./bench.ts";
import type { ProgramPeersResult } from "./program_peers.ts";
import type { Row } from "./table.ts";

export async function benchPeers(bench: Bench): Promise<Row[]> {
  const { peers, oursMs, iproute2Ms } = await measure(bench.sizes.large, bench.sizes.repetitions);
  return [{
    what: `neighbour, FDB entry and route of ${peers} peers into the kernel`,
    unit: "ms",
    ours: oursMs,
    theirs: iproute2Ms,
    against: "ip -batch and bridge -batch",
    goal: 2,
  }];
}

/** In a process of its own, which enters another network namespace. */
async function measure(peers: number, rounds: number): Promise<ProgramPeersResult> {
  const module = new URL("program_peers.ts", import.meta.url).pathname;
  const script = `const { measureProgramPeers } = await import(${JSON.stringify(module)});` +
    `console.log(JSON.stringify(await measureProgramPeers(${peers}, ${rounds})));`;
  const { exitCode, stdout, stderr } = await runProgram(process.execPath, ["-e", script], {
    timeoutMs: 300_000,
  });
  if (exitCode !== 0) throw new Error(`cannot program ${peers} peers: ${stderr}`);
  return JSON.parse(stdout) as ProgramPeersResult;
}
