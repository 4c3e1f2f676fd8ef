/**
 * The mutation run: for each small change ("mutant") to the program, whether a test fails.
 * Run by run.sh, inside namespaces.
 */

import {
  cpSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { EQUIVALENT } from "./equivalent.ts";
import type { Instrumented, Mutant } from "./instrument.ts";
import { Journal } from "./journal.ts";
import { type Outcome, printReport } from "./report.ts";
import { measure, type TestFile, testsOf, tryMutant } from "./test_files.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const WORK = process.env.FLANNELD_MUTATION_DIR as string;
const JOBS = Number(process.env.TEST_JOBS ?? navigator.hardwareConcurrency);

/** Each of these has a score of its own. */
const GROUPS: readonly string[] = [
  "src/addr",
  "src/config",
  "src/state",
  "src/kube",
  "src/subnet",
  "src/etcd/client",
  "src/reconcile",
  "src/overlay",
  "src/backend/alloc",
  "src/backend/host_gw",
  "src/backend/ipip",
  "src/backend/vxlan",
  "src/backend/*.ts",
];
/** Percent of the mutants of each group that tests must notice. */
const THRESHOLD = 90;

async function main(args: readonly string[]): Promise<number> {
  const isFresh = args.includes("--fresh");
  const wanted = args.filter((arg) => !arg.startsWith("--"));
  const files = (wanted.length > 0 ? wanted : GROUPS).flatMap(sourceFiles);
  const tree = copyTree(); // From here on, the project may be edited.
  const journal = new Journal({ root: tree, path: join(WORK, "results.jsonl"), isFresh });
  const testNames = testsOf(tree, files);
  const instrumented = instrument(tree, files);
  for (const { name, content } of instrumented.files) writeFileSync(join(tree, name), content);
  const outcomes = args.includes("--known")
    ? instrumented.mutants.map((mutant) => ({ mutant, status: knownStatus(mutant, journal) }))
    : await tryAll(tree, instrumented.mutants, await measure(tree, testNames, JOBS), journal);
  return printReport({ outcomes, groupOf, threshold: THRESHOLD, equivalents: EQUIVALENT });
}

function sourceFiles(wanted: string): string[] {
  const path = wanted.replace(/\/\*\.ts$/, "").replace(/\/$/, "");
  const isDeep = path === wanted.replace(/\/$/, "");
  if (statSync(join(ROOT, path)).isFile()) return [path];
  return (readdirSync(join(ROOT, path), { recursive: isDeep }) as string[])
    .map((name) => `${path}/${name}`)
    .filter((name) => name.endsWith(".ts") && !/\/api\/|_pb\.ts$/.test(name))
    .sort();
}

/** `src/subnet/etcd/live_session.ts` is in `src/subnet`; `*.ts` are the files of one folder. */
function groupOf(file: string): string {
  const group = GROUPS.find((one) =>
    one.endsWith("/*.ts") ? one === `${dirname(file)}/*.ts` : file.startsWith(`${one}/`)
  );
  return group ?? "others";
}

/** A copy of the project in which files are replaced. */
function copyTree(): string {
  const tree = join(WORK, "tree");
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(tree);
  for (const name of readdirSync(ROOT)) {
    if (name === ".git" || name === "node_modules" || name === "dist") continue;
    cpSync(join(ROOT, name), join(tree, name), { recursive: true });
  }
  for (const name of ["node_modules", "dist"]) symlinkSync(join(ROOT, name), join(tree, name));
  return tree;
}

function knownStatus(mutant: Mutant, journal: Journal): Outcome["status"] {
  return mutant.ignored !== undefined ? "ignored" : journal.find(mutant, true) ?? "untried";
}

async function tryAll(
  tree: string,
  mutants: readonly Mutant[],
  tests: readonly TestFile[],
  journal: Journal,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const queue = mutants.entries();
  const begun = Date.now();
  const work = async () => {
    for (const [i, mutant] of queue) {
      if (mutant.ignored !== undefined) {
        outcomes.push({ mutant, status: "ignored" });
        continue;
      }
      const status = journal.find(mutant, false) ?? await tryMutant(tree, mutant, tests);
      journal.add(mutant, status);
      outcomes.push({ mutant, status });
      if ((i + 1) % 100 === 0) {
        console.error(
          `${i + 1} of ${mutants.length} (${Math.round((Date.now() - begun) / 1000)} s)`,
        );
      }
    }
  };
  await Promise.all(Array.from({ length: JOBS }, work));
  return outcomes.sort((a, b) => Number(a.mutant.id) - Number(b.mutant.id));
}

function instrument(tree: string, files: readonly string[]): Instrumented {
  const script = "tests/mutation/instrument.ts";
  const { success, stdout, stderr } = Bun.spawnSync({
    cmd: ["node_modules/.bin/deno", "run", "--allow-all", "--no-check", script, ...files],
    cwd: tree,
    env: { ...process.env, DENO_DIR: join(WORK, "deno") },
  });
  if (!success) throw new Error(`cannot instrument ${files.join(" ")}: ${stderr}`);
  return JSON.parse(String(stdout));
}

process.exitCode = await main(process.argv.slice(2));
