/** The commands of the manual are commands of this program: their flags and arguments exist. */

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { parseCommandLine } from "../../../src/cli/command_line.ts";
import { joinTokenText, newJoinToken } from "../../../src/join/join_token.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;
const pages = (readdirSync(`${ROOT}docs`, { recursive: true }) as string[])
  .filter((name) => name.endsWith(".md") && !name.startsWith("adr/")).map((name) => `docs/${name}`)
  .concat("README.md");
/** What stands for a token in the manual, and a token. */
const TOKEN_PLACEHOLDER = /\bTOKEN(?=@)|\bF1\.[\w.-]+(?=@)/g;
const TOKEN = joinTokenText(newJoinToken(Buffer.alloc(32).toString("base64url")));

/** Where the program is started: at the beginning, after a separator, or by another program. */
const START = /(?:^|[;&|('] *|\b(?:exec|run) )(?:\w+=\S* )*(?:[\w./]*\/)?(flanneld(?: .*)?)$/;

interface DocumentedCommand {
  readonly page: string;
  readonly text: string;
}

const commands = pages.flatMap(commandsOf);

test("the manual has many commands", () => expect(commands.length).toBeGreaterThan(25));

test.each(commands)("$page: $text", ({ text }) => {
  const result = parsed(text);
  expect(result.kind === "error" ? result.message : "").toBe("");
});

test("a flag, an argument or a subcommand that does not exist is noticed", () => {
  for (const text of ["--ifaces=eth1", "datastore --join x", "datastore tokens", "lab 3"]) {
    expect(parsed(`flanneld ${text}`)).toMatchObject({ kind: "error" });
  }
});

/** The lines of the page's examples in which this program is started. */
function commandsOf(page: string): DocumentedCommand[] {
  const blocks = readFileSync(`${ROOT}${page}`, "utf8").matchAll(/^ *```(.*)\n([^]*?)^ *```$/gm);
  const lines = [...blocks].filter(([, language]) => language === "")
    .flatMap(([, , block = ""]) => block.replace(/\\\n\s*/g, "").split("\n"));
  return lines.flatMap((line) => {
    const [, text] = START.exec(beforeComment(line)) ?? [];
    // A message of the program, not a command.
    if (text === undefined || /^flanneld(?: \w+)?: |^flanneld (is|──)/.test(text)) return [];
    return [{ page, text }];
  });
}

function beforeComment(line: string): string {
  return line.replace(/^# /, "").replace(/\s+#.*$/, "");
}

/** As far as the shell passes it to the program. */
function parsed(text: string): ReturnType<typeof parseCommandLine> {
  const [command = ""] = text.split(/\s*(?:[|;<>&)']|$)/);
  const words = command.replaceAll(TOKEN_PLACEHOLDER, TOKEN).split(/\s+/);
  return parseCommandLine(words.slice(1), {});
}
