/** The outcome of a mutation run, as text. */

import type { Equivalent } from "./equivalent.ts";
import type { Mutant } from "./instrument.ts";
import type { Verdict } from "./test_files.ts";

export interface Outcome {
  readonly mutant: Mutant;
  readonly status: Verdict | "ignored" | "untried";
}

export interface ReportOptions {
  readonly outcomes: readonly Outcome[];
  readonly groupOf: (file: string) => string;
  /** Percent. */
  readonly threshold: number;
  readonly equivalents: readonly Equivalent[];
}

interface Count {
  killed: number;
  survived: number;
  equivalent: number;
  messages: number;
  untried: number;
}

/** Prints survivors, then the score of each file and group; the answer is the exit status. */
export function printReport(options: ReportOptions): number {
  const { outcomes, groupOf, threshold, equivalents } = options;
  const files = new Map<string, Count>();
  const groups = new Map<string, Count>();
  const unused = new Set(equivalents);
  for (const { mutant, status } of outcomes) {
    const equivalent = equivalents.find((one) => isAbout(one, mutant));
    if (equivalent !== undefined) unused.delete(equivalent);
    const isNoticed = status === "killed" || status === "timeout";
    const what: keyof Count = status === "ignored"
      ? "messages"
      : status === "untried"
      ? "untried"
      : isNoticed
      ? "killed"
      : equivalent !== undefined
      ? "equivalent"
      : "survived";
    for (const [counts, key] of [[files, mutant.file], [groups, groupOf(mutant.file)]] as const) {
      let count = counts.get(key);
      if (count === undefined) {
        counts.set(key, count = { killed: 0, survived: 0, equivalent: 0, messages: 0, untried: 0 });
      }
      count[what]++;
    }
    if (what === "survived") console.log(survivorText(mutant, status));
    if (isNoticed && equivalent !== undefined) {
      console.log(`${placeOf(mutant)}: in the list of equivalent ones, but a test notices it\n`);
    }
  }
  printTable(files);
  printTable(groups);
  const stale = [...unused].filter(({ file }) => files.has(file));
  for (const { file, original } of stale) {
    console.log(`the list of equivalent ones names what is not there: ${file}: ${original}`);
  }
  const isGood = [...groups.values()].every((count) => scoreOf(count) >= threshold);
  if (!isGood) console.log(`a score is below ${threshold} %`);
  return isGood && stale.length === 0 ? 0 : 1;
}

function isAbout(equivalent: Equivalent, { file, original, replacement }: Mutant): boolean {
  return equivalent.file === file && equivalent.original === oneLine(original) &&
    equivalent.replacement === oneLine(replacement);
}

function survivorText(mutant: Mutant, status: string): string {
  const { mutator, original, replacement } = mutant;
  const note = status === "not reached" ? ", which no test runs" : "";
  const place = `${placeOf(mutant)}: ${mutator}${note}`;
  return `${place}\n  - ${short(original)}\n  + ${short(replacement)}\n`;
}

function placeOf({ file, line, column }: Mutant): string {
  return `${file}:${line}:${column}`;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/** The difference shows in the first part, or by the line number. */
function short(text: string): string {
  const line = oneLine(text);
  return line.length > 160 ? `${line.slice(0, 160)} …` : line;
}

function printTable(counts: ReadonlyMap<string, Count>): void {
  const rows = [...counts].map(([name, count]) => [
    name,
    `${scoreOf(count).toFixed(1)} %`,
    `${count.killed} killed`,
    `${count.survived} survived`,
    `${count.equivalent} equivalent`,
    `${count.messages} messages`,
    count.untried === 0 ? "" : `${count.untried} untried`,
  ]);
  for (const row of rows) {
    console.log(row.map((cell, i) => i === 0 ? cell.padEnd(40) : cell.padStart(14)).join(""));
  }
  console.log();
}

/** The percentage of the counted mutants that a test noticed. */
function scoreOf({ killed, survived }: Count): number {
  return killed + survived === 0 ? 100 : 100 * killed / (killed + survived);
}
