/**
 * The lists of docs/architecture.md, measured: "to add this, look at that" names exactly the
 * files in which "that" appears, and every room is described. `UPDATE_GOLDENS=1` writes the
 * lists.
 */

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";

const ROOT = new URL("../../", import.meta.url).pathname;
const PAGE = `${ROOT}docs/architecture.md`;

interface Row {
  readonly line: string;
  readonly what: string;
  readonly example: string;
  readonly files: readonly string[];
  readonly manual: readonly string[];
}

const sources = ["src", "ffi"].flatMap((folder) =>
  (readdirSync(`${ROOT}${folder}`, { recursive: true }) as string[])
    .map((name) => `${folder}/${name}`)
).filter((name) => /\.(ts|proto)$/.test(name)).sort();

const rows = rowsOf(readFileSync(PAGE, "utf8"));

describe("docs/architecture.md", () => {
  test("has a row for each thing that is often added", () => {
    expect(rows.map(({ what }) => what)).toContain("a backend");
    expect(rows.length).toBeGreaterThan(8);
  });

  test.each(rows.map((row) => [row.what, row] as const))("%s: these files", (_, row) => {
    const measured = filesWith(row.example);
    if (process.env["UPDATE_GOLDENS"] === "1") update(row, measured);
    expect(row.files).toEqual(measured);
    expect(row.manual.filter((name) => !existsSync(`${ROOT}${name}`))).toEqual([]);
  });

  test("describes every room", () => {
    const page = readFileSync(PAGE, "utf8");
    const folders = readdirSync(`${ROOT}src`, { withFileTypes: true })
      .filter((entry) => entry.isDirectory()).map(({ name }) => `src/${name}`);
    expect(folders.filter((folder) => !page.includes(`\`${folder}\``))).toEqual([]);
  });
});

describe("the path of one change", () => {
  const section = readFileSync(PAGE, "utf8").split("## The path of one change")[1] ?? "";
  const steps = [...section.split("\n## ")[0]?.matchAll(/^\| `([^`]+)` \| `([^`]+)` \|/gm) ?? []]
    .map(([, name = "", file = ""]) => ({ name, file }));

  test("is about five functions", () => {
    expect(steps.length).toBeGreaterThan(3);
    expect(steps.length).toBeLessThan(7);
  });

  test.each(steps)("$name is in $file", ({ name, file }) => {
    const [first = "", member] = name.split(".");
    const code = codeOf(readFileSync(`${ROOT}${file}`, "utf8"));
    if (member === undefined) {
      expect(code).toMatch(new RegExp(`^export .*function\\*? ${first}\\(`, "m"));
    } else {
      expect(code).toMatch(new RegExp(`^export class ${first}\\b`, "m"));
      expect(code).toMatch(new RegExp(`^  (async )?${member}\\(`, "m"));
    }
  });
});

function rowsOf(page: string): Row[] {
  const section = page.split("## Where to add what")[1]?.split("\n## ")[0] ?? "";
  const table = section.split("\n").filter((line) => line.startsWith("| ")).slice(1);
  return table.map((line) => {
    // A vertical bar within a cell is written \|.
    const cells = line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim());
    const [what = "", example = "", files = "", manual = ""] = cells;
    return {
      line,
      what,
      example: namesIn(example)[0]?.replaceAll("\\|", "|") ?? "",
      files: namesIn(files),
      manual: namesIn(manual),
    };
  });
}

function namesIn(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string);
}

/** The files whose code, not only a comment, has the example as a word of its own. */
function filesWith(example: string): string[] {
  const word = new RegExp(`(?<![\\w-])(${example})(?!\\w)`);
  return sources.filter((file) => word.test(codeOf(readFileSync(`${ROOT}${file}`, "utf8"))));
}

function codeOf(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

function update(row: Row, measured: readonly string[]): void {
  const cells = row.line.split(/(?<!\\)\|/);
  cells[3] = ` ${measured.map((name) => `\`${name}\``).join(", ")} `;
  writeFileSync(PAGE, readFileSync(PAGE, "utf8").replace(row.line, () => cells.join("|")));
}
