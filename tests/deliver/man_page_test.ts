/** The man pages, by mandoc. */

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { FLANNELD } from "../../src/cli/commands.ts";
import { manPages } from "../../src/cli/manual/man_page.ts";

const FOLDER = new URL("../../deploy/man/", import.meta.url).pathname;
const SECTIONS = [
  "NAME",
  "SYNOPSIS",
  "DESCRIPTION",
  "OPTIONS",
  "SUBCOMMANDS",
  "ENVIRONMENT",
  "FILES",
  "SIGNALS",
  "EXIT STATUS",
  "EXAMPLES",
  "SEE ALSO",
];

/** How a terminal of paper prints bold. */
const OVERSTRIKE = new RegExp(`.${String.fromCharCode(8)}`, "g");

const pages = readdirSync(FOLDER).sort();

test("there is one for the program and one for each subcommand with subcommands", () => {
  expect(pages).toEqual([
    "flanneld-config.8",
    "flanneld-datastore.8",
    "flanneld-lab.8",
    "flanneld-leases.8",
    "flanneld.8",
  ]);
  expect(manPages(FLANNELD).map(({ name }) => name).sort()).toEqual(pages);
});

describe.each(pages)("%s", (page) => {
  test("has no warning of mandoc", () => {
    const lint = mandoc("-T", "lint", "-W", "warning", page);
    expect([lint.status, lint.text]).toEqual([0, ""]);
  });

  test("has every section, and each flag as it is typed", () => {
    const { text } = mandoc("-T", "ascii", "-O", "width=120", page);
    const plain = text.replaceAll(OVERSTRIKE, "");
    // flanneld config does nothing without a subcommand, and has no flags of its own.
    const hasOptions = page !== "flanneld-config.8";
    expect(plain.split("\n").filter((line) => /^[A-Z][A-Z ]+$/.test(line)))
      .toEqual(SECTIONS.filter((section) => section !== "OPTIONS" || hasOptions));
    const source = readFileSync(`${FOLDER}${page}`, "utf8");
    const flags = [...source.matchAll(/^\.It Fl (\S+)/gm)].map(([, name]) => name ?? "");
    expect(flags.length).toBeGreaterThan(5);
    for (const flag of flags) expect(plain).toContain(`-${flag.replaceAll("\\", "")}`);
  });
});

function mandoc(...args: string[]): { status: number; text: string } {
  const { exitCode, stdout } = Bun.spawnSync(["mandoc", ...args], { cwd: FOLDER });
  return { status: exitCode, text: stdout.toString() };
}
