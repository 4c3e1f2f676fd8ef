/** Writes the bench's results to docs/performance.md. */

import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { run } from "../../src/process/process.ts";
import { markdownTable, type Row } from "./table.ts";

const PAGE = new URL("../../docs/performance.md", import.meta.url).pathname;
const BEGIN = "<!-- results: written by `npm run bench -- --record` -->";
const END = "<!-- end of results -->";

/** Replaces the page's results; the text around them stays. */
export async function recordResults(
  rows: readonly Row[],
  options: { isQuick: boolean },
): Promise<void> {
  const page = readFileSync(PAGE, "utf8");
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${PAGE} has no place for the results`);
  const results = [
    `Commit ${await commit()}, ${new Date().toISOString().slice(0, 10)}; ${cpus().length} cores ` +
    `(${cpus()[0]?.model.trim() ?? "unknown"}), Linux ${release()}` +
    `${options.isQuick ? "; reduced sizes (`--quick`): not the figures to quote" : ""}.`,
    markdownTable(rows),
  ];
  writeFileSync(
    PAGE,
    `${page.slice(0, begin)}${BEGIN}\n\n${results.join("\n\n")}\n\n${page.slice(end)}`,
  );
}

/** The commit that was measured; says so when the work tree differs from it. */
async function commit(): Promise<string> {
  const git = async (args: readonly string[]) => (await run("git", args)).stdout.trim();
  const id = await git(["rev-parse", "--short=12", "HEAD"]);
  const isClean = await git(["status", "--porcelain", "--untracked-files=no"]) === "";
  return isClean ? id : `${id} with changes`;
}
