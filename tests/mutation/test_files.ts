/** Which test files reach a mutant, how long they take, and whether they notice it. */

import { readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import type { Mutant } from "./instrument.ts";

export interface TestFile {
  readonly name: string;
  readonly seconds: number;
  /** The environment that it runs with. */
  readonly env: { readonly FLANNELD_MUTATION_INPUTS: string };
  /** How often it runs over each mutant, by id. */
  readonly hits: ReadonlyMap<string, number>;
}

export type Verdict = "killed" | "timeout" | "survived" | "not reached";

const BUN = "node_modules/.bin/bun";
/** An endless loop that also fills the memory ends here. */
const MAX_BYTES = 2e9;

/** The tests of these files' folders that import one of them, directly or not. */
export function testsOf(root: string, files: readonly string[]): string[] {
  const folders = new Set(files.flatMap(testFolders));
  const near = testFiles(root).filter((name) => folders.has(posix.dirname(name)));
  return near.filter(reaching(root, new Set(files)));
}

/**
 * Where the tests of a file are: in its folder and those above it, such as
 * `tests/unit/backend/vxlan` and `tests/unit/backend`, whose tests are about every backend.
 */
function testFolders(file: string): string[] {
  const names = posix.dirname(file).split("/").slice(1);
  const folders = names.map((_, i) => ["tests/unit", ...names.slice(0, i + 1)].join("/"));
  const usesEtcd = names[0] === "subnet" || names[0] === "etcd";
  return usesEtcd ? [...folders, "tests/etcd"] : folders;
}

/** Whether a file imports one of these, directly or not. */
function reaching(root: string, targets: ReadonlySet<string>): (file: string) => boolean {
  const known = new Map<string, boolean>();
  const reaches = (file: string): boolean => {
    const before = known.get(file);
    if (before !== undefined) return before;
    known.set(file, false); // Of a circle, some other member decides.
    const found = targets.has(file) || importsOf(root, file).some(reaches);
    known.set(file, found);
    return found;
  };
  return reaches;
}

/** All tests that need neither a real kernel nor a real etcd. */
function testFiles(root: string): string[] {
  const below = (folder: string) =>
    (readdirSync(join(root, folder), { recursive: true }) as string[])
      .map((name) => `${folder}/${name}`);
  const isReal = reaching(root, new Set(["tests/support/etcd_server.ts"]));
  return [
    ...below("tests/unit").filter((name) => /\/unit\/.+\/.+_test\.ts$/.test(name)),
    ...below("tests/etcd").filter((name) => name.endsWith("_test.ts") && !isReal(name)),
  ].sort();
}

function importsOf(root: string, file: string): string[] {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(/\b(?:from|import\()\s*"(\.[^"]+\.ts)"/g)]
    .map((match) => posix.join(posix.dirname(file), match[1] as string));
}

/** Runs each test file without a mutant. */
export async function measure(
  tree: string,
  names: readonly string[],
  jobs: number,
): Promise<TestFile[]> {
  const files: TestFile[] = [];
  const queue = names.values();
  const work = async () => {
    for (const name of queue) {
      // Some property tests require enough inputs of a kind.
      const file = await measureOne(tree, name, 50) ?? await measureOne(tree, name, 500);
      if (file === undefined) console.error(`left out, for it fails without any mutant: ${name}`);
      else files.push(file);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return files.sort((a, b) => a.seconds - b.seconds);
}

/** `undefined`: it fails without a mutant. */
async function measureOne(
  tree: string,
  name: string,
  inputs: number,
): Promise<TestFile | undefined> {
  const coverage = join(tree, `${name.replaceAll("/", "+")}.coverage.json`);
  const begun = performance.now();
  const env = { FLANNELD_MUTATION_INPUTS: String(inputs) };
  const { status } = await runTests(tree, [name], {
    env: { ...env, FLANNELD_MUTATION_COVERAGE: coverage },
    limitMs: 300_000,
  });
  if (status !== 0) return undefined;
  const seconds = (performance.now() - begun) / 1000;
  const hits = JSON.parse(readFileSync(coverage, "utf8")) as Record<string, number>;
  return { name, seconds, env, hits: new Map(Object.entries(hits)) };
}

/** Runs the tests that reach a mutant, quick ones first, until one fails. */
export async function tryMutant(
  tree: string,
  { id, file }: Mutant,
  tests: readonly TestFile[],
): Promise<Verdict> {
  const folders = testFolders(file);
  const reaching = tests.filter(({ name, hits }) =>
    hits.has(id) && folders.includes(posix.dirname(name))
  );
  if (reaching.length === 0) return "not reached";
  for (const batch of batches(reaching, file)) {
    const seconds = batch.reduce((sum, one) => sum + one.seconds, 0);
    const hits = batch.reduce((sum, one) => sum + (one.hits.get(id) as number), 0);
    const env = {
      ...(batch[0] as TestFile).env,
      __STRYKER_ACTIVE_MUTANT__: id,
      FLANNELD_MUTATION_MAX_HITS: String(1000 + 100 * hits),
    };
    const limitMs = Math.round(5000 + 6000 * seconds);
    const { status } = await runTests(tree, batch.map(({ name }) => name), { env, limitMs });
    if (status !== 0) return status === undefined ? "timeout" : "killed";
  }
  return "survived";
}

/**
 * First the tests that are named after the file, which notice most. Starting a process costs as
 * much as a quick test file: the other quick ones are run together.
 */
function batches(tests: readonly TestFile[], file: string): TestFile[][] {
  const noun = posix.basename(file, ".ts");
  const own = tests.filter(({ name }) => posix.basename(name, "_test.ts").endsWith(noun));
  const others = tests.filter((test) => !own.includes(test));
  const inputs = others[0]?.env.FLANNELD_MUTATION_INPUTS;
  const isQuick = ({ seconds, env }: TestFile) =>
    seconds < 2 && inputs === env.FLANNELD_MUTATION_INPUTS;
  const slow = others.filter((test) => !isQuick(test));
  return [...own.map((test) => [test]), others.filter(isQuick), ...slow.map((test) => [test])]
    .filter((batch) => batch.length > 0);
}

interface Run {
  /** `undefined`: it was stopped, because it took too much time or memory. */
  readonly status: number | undefined;
  readonly output: string;
}

async function runTests(
  tree: string,
  names: readonly string[],
  { env, limitMs }: { readonly env: Record<string, string>; readonly limitMs: number },
): Promise<Run> {
  const child = Bun.spawn(
    [
      BUN,
      "test",
      "--bail",
      "--timeout",
      String(limitMs),
      "--preload",
      "./tests/mutation/preload.ts",
      ...names.map((name) => `./${name}`),
    ],
    { cwd: tree, env: { ...process.env, ...env }, stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  );
  const begun = performance.now();
  let isStopped = false;
  const timer = setInterval(() => {
    if (performance.now() - begun < limitMs && residentBytes(child.pid) < MAX_BYTES) return;
    isStopped = true;
    child.kill("SIGKILL");
  }, 250);
  const output = (await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ])).join("");
  await child.exited;
  clearInterval(timer);
  return { status: isStopped ? undefined : child.exitCode ?? 1, output };
}

function residentBytes(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * 4096;
  } catch {
    return 0; // It has ended.
  }
}
