/**
 * What earlier runs found, so that a run can be continued, and repeated after a test was added: a
 * mutant that was noticed stays so while its file is as it was; one that was not is tried again
 * when any file of the program or the tests has changed.
 */

import { createHash } from "node:crypto";
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Mutant } from "./instrument.ts";
import type { Verdict } from "./test_files.ts";

interface Line {
  readonly key: string;
  readonly verdict: Verdict;
  /** Of all files. */
  readonly everything: string;
}

export class Journal {
  readonly #path: string;
  readonly #everything: string;
  readonly #files = new Map<string, string>();
  readonly #known = new Map<string, Line>();

  constructor(
    { root, path, isFresh }: {
      readonly root: string;
      readonly path: string;
      readonly isFresh: boolean;
    },
  ) {
    this.#path = path;
    const names = ["src", "tests"].flatMap((folder) =>
      (readdirSync(join(root, folder), { recursive: true }) as string[])
        .map((name) => `${folder}/${name}`)
        .filter((name) => name.endsWith(".ts"))
    ).sort();
    for (const name of names) this.#files.set(name, digest(readFileSync(join(root, name), "utf8")));
    this.#everything = digest(JSON.stringify([...this.#files]));
    if (isFresh) rmSync(path, { force: true });
    if (!existsSync(path)) return;
    for (const text of readFileSync(path, "utf8").split("\n")) {
      if (text === "") continue;
      const line = JSON.parse(text) as Line;
      this.#known.set(line.key, line);
    }
  }

  /** `isKnownEnough`: also accepts that a mutant survived with earlier versions of other files. */
  find(mutant: Mutant, isKnownEnough: boolean): Verdict | undefined {
    const line = this.#known.get(this.#keyOf(mutant));
    if (line === undefined || isKnownEnough) return line?.verdict;
    const wasNoticed = line.verdict === "killed" || line.verdict === "timeout";
    return wasNoticed || line.everything === this.#everything ? line.verdict : undefined;
  }

  add(mutant: Mutant, verdict: Verdict): void {
    const line: Line = { key: this.#keyOf(mutant), verdict, everything: this.#everything };
    appendFileSync(this.#path, `${JSON.stringify(line)}\n`);
  }

  /** Several mutants can begin at one place: `a` and `a && b`, each to `true`. */
  #keyOf({ file, line, column, mutator, original, replacement }: Mutant): string {
    const what = [file, this.#files.get(file), line, column, mutator, original, replacement];
    return digest(JSON.stringify(what));
  }
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 24);
}
