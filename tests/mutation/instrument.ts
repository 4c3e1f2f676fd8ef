/**
 * The program with all its mutants in it, one of which is chosen when it runs. A program of its
 * own, run by Deno: Stryker's instrumenter relies on how Node imports CommonJS modules, which Bun
 * does otherwise. Arguments: files; output: JSON, `Instrumented`.
 */

import { Instrumenter } from "@stryker-mutator/instrumenter";
import { readFileSync } from "node:fs";
import process from "node:process";

export interface Mutant {
  /** Its id for `__STRYKER_ACTIVE_MUTANT__`, which differs in each run. */
  readonly id: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly mutator: string;
  readonly original: string;
  readonly replacement: string;
  /** Why it is not tried. */
  readonly ignored: string | undefined;
}

export interface Instrumented {
  readonly files: readonly { readonly name: string; readonly content: string }[];
  readonly mutants: readonly Mutant[];
}

interface Source {
  readonly name: string;
  readonly text: string;
}

async function instrument(sources: readonly Source[]): Promise<Instrumented> {
  const messages = new Messages(sources.map(({ name }) => name));
  const { files, mutants } = await new Instrumenter(SILENT).instrument(
    sources.map(({ name, text }) => ({ name, content: text, mutate: true })),
    { plugins: null, excludedMutations: [], ignorers: [messages] },
  );
  const linesOf = new Map(sources.map(({ name, text }) => [name, text.split("\n")]));
  return {
    files,
    mutants: mutants.map(({ id, fileName, location, mutatorName, replacement }) => ({
      id,
      file: fileName,
      line: location.start.line + 1,
      column: location.start.column + 1,
      mutator: mutatorName,
      original: cut(linesOf.get(fileName) as string[], location),
      replacement,
      ignored: mutatorName === "StringLiteral" && messages.has(fileName, location.start)
        ? "the text of a message"
        : undefined,
    })),
  };
}

interface Position {
  readonly line: number;
  readonly column: number;
}

function cut(lines: string[], { start, end }: { start: Position; end: Position }): string {
  const cutOut = lines.slice(start.line, end.line + 1);
  const last = cutOut.length - 1;
  cutOut[last] = (cutOut[last] as string).slice(0, end.column);
  cutOut[0] = (cutOut[0] as string).slice(start.column);
  return cutOut.join("\n");
}

/** The parts of Babel's tree that are used. */
interface Path {
  readonly node: Node;
  readonly parentPath: Path | null;
}

interface Node {
  readonly type: string;
  readonly loc?: { readonly start: Position };
  readonly callee?: Node;
  readonly object?: Node;
  readonly property?: Node;
  readonly name?: string;
  readonly id?: Node;
}

/**
 * Texts of a log line or an error are for people; the tests assert those that people or programs
 * rely on. Expressions inside such a text are mutated like all others.
 *
 * The instrumenter passes each node of each file, in order, to this ignorer; ignoring a node would
 * ignore its children as well.
 */
class Messages {
  readonly #files: readonly string[];
  readonly #found = new Set<string>();
  #current = -1;

  constructor(files: readonly string[]) {
    this.#files = files;
  }

  has(file: string, { line, column }: Position): boolean {
    return this.#found.has(`${file} ${line + 1} ${column}`);
  }

  shouldIgnore(path: unknown): undefined {
    const { node, parentPath } = path as Path;
    if (node.type === "Program") this.#current++;
    if (node.type !== "StringLiteral" && node.type !== "TemplateLiteral") return;
    let at = parentPath;
    // Long texts are sums of short ones.
    while (at?.node.type === "BinaryExpression" || at?.node.type === "ConditionalExpression") {
      at = at.parentPath;
    }
    if (at === null || !isMessageCall(at.node) || node.loc === undefined) return;
    const { line, column } = node.loc.start;
    this.#found.add(`${this.#files[this.#current]} ${line} ${column}`);
  }
}

function isMessageCall({ type, callee }: Node): boolean {
  if (type === "NewExpression") return /Error$/.test(callee?.name ?? "");
  if (type !== "CallExpression" || callee?.type !== "MemberExpression") return false;
  const { object, property } = callee;
  const logger = object?.name ?? object?.property?.name ?? object?.property?.id?.name ?? "";
  return /^#?log$/i.test(logger) && /^(debug|info|warn|error|fatal)$/.test(property?.name ?? "");
}

const nothing = () => {};
const never = () => false;
const SILENT = {
  isTraceEnabled: never,
  isDebugEnabled: never,
  isInfoEnabled: never,
  isWarnEnabled: never,
  isErrorEnabled: never,
  isFatalEnabled: never,
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  fatal: nothing,
};

const sources = process.argv.slice(2).map((name) => ({ name, text: readFileSync(name, "utf8") }));
process.stdout.write(JSON.stringify(await instrument(sources)));
