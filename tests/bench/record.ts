/**
 * Writes the bench's results to docs/performance.md, one section for each part that was measured.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { runProgram } from "../../src/process/run_program.ts";
import { growthPlot } from "./growth_plot.ts";
import { markdownTable, type Measured } from "./table.ts";

const PAGE = new URL("../../docs/performance.md", import.meta.url).pathname;
const PLOT = new URL("../../docs/growth.svg", import.meta.url).pathname;

/** What one part of the bench has measured, and where. */
export interface PartResults extends Measured {
  readonly part: string;
  readonly origin: string;
}

/** One line about what is being measured: commit, day, machine. */
export async function describeOrigin({ isQuick }: { isQuick: boolean }): Promise<string> {
  const cores = cpus().length === 1 ? "one core" : `${cpus().length} cores`;
  const machine = process.env["FLANNELD_VM"] === undefined
    ? `${cores} (${cpus()[0]?.model.trim() ?? "unknown"}), Linux ${release()}`
    : `${cores} of a virtual machine (\`tests/vm/run\`), Linux ${release()}`;
  const day = new Date().toISOString().slice(0, 10);
  return `Commit ${await commit()}, ${day}; ${machine}` +
    `${isQuick ? "; reduced sizes (`--quick`): not the figures to quote" : ""}.`;
}

/** Replaces the sections of these parts on the page; the text around them stays. */
export function recordResults(results: readonly PartResults[]): void {
  let page = readFileSync(PAGE, "utf8");
  for (const { part, origin, rows, details } of results) {
    const begin = `<!-- results of ${part}: written by \`npm run bench\` -->`;
    const end = `<!-- end of results of ${part} -->`;
    const from = page.indexOf(begin);
    const to = page.indexOf(end);
    if (from < 0 || to < from) throw new Error(`${PAGE} has no place for the results of ${part}`);
    const shown = [markdownTable(rows), ...(details === undefined ? [] : [details])];
    const section = [begin, origin, ...shown, end].join("\n\n");
    page = page.slice(0, from) + section + page.slice(to + end.length);
    if (rows.some(({ point }) => point !== undefined)) writeFileSync(PLOT, growthPlot(rows));
  }
  writeFileSync(PAGE, page);
}

/** The measured commit, with a note if the work tree differs from it. */
async function commit(): Promise<string> {
  const git = async (args: readonly string[]) => (await runProgram("git", args)).stdout.trim();
  const id = await git(["rev-parse", "--short=12", "HEAD"]);
  const isClean = await git(["status", "--porcelain", "--untracked-files=no"]) === "";
  return isClean ? id : `${id} with changes`;
}
