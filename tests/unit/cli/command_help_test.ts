import { describe, expect, test } from "bun:test";
import {
  type Command,
  commandName,
  type CommandPath,
  shownCommands,
  shownPaths,
} from "../../../src/cli/command.ts";
import { helpText } from "../../../src/cli/command_help.ts";
import { FLANNELD, INSTALL_CONF } from "../../../src/cli/commands.ts";
import type { Flag } from "../../../src/cli/flag.ts";
import { flagsPage } from "../../../src/cli/manual/flags_page.ts";

const PATHS = [...shownPaths([FLANNELD]), ...shownPaths([INSTALL_CONF])];

function flagsOf(path: CommandPath): Flag<unknown>[] {
  return Object.values(path.at(-1)?.flags ?? {});
}

describe.each(PATHS.map((path) => [commandName(path), path] as const))(
  "%s --help",
  (name, path) => {
    const lines = helpText(path).split("\n");

    test("fits 100 columns", () => {
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
    });

    test("begins with the usage and has every flag, as the page of the manual", () => {
      expect(lines[0]).toStartWith(`Usage: ${name}`);
      const page = flagsPage();
      for (const flag of flagsOf(path).filter(({ isHidden }) => !isHidden)) {
        const usage = `${flag.name.length === 1 ? "-" : "--"}${flag.name}`;
        expect(lines.filter((line) => line.trim().split(" ")[0] === usage)).toHaveLength(1);
        expect(page).toContain(`\n### \`${usage}`);
      }
    });

    test("shows each subcommand", () => {
      for (const { name } of shownCommands(path.at(-1) as Command)) {
        expect(lines.some((line) => line.startsWith(`  ${name} `))).toBeTrue();
      }
    });

    test("has flags of unique names, and no values in place of subcommands", () => {
      const names = flagsOf(path).map((flag) => flag.name);
      expect(new Set(names).size).toBe(names.length);
      const command = path.at(-1) as Command;
      expect(command.commands.length === 0 || Object.keys(command.arguments).length === 0)
        .toBeTrue();
    });
  },
);

test("a hidden flag is neither in the help nor in the manual", () => {
  const [lab] = PATHS.filter((path) => commandName(path) === "flanneld lab") as [CommandPath];
  expect(flagsOf(lab).filter(({ isHidden }) => isHidden).map(({ name }) => name))
    .toEqual(["daemon"]);
  expect(helpText(lab)).not.toContain("--daemon");
  expect(flagsPage()).not.toContain("--daemon");
});

test("a hidden subcommand is not in the help", () => {
  const lab = FLANNELD.commands.find(({ name }) => name === "lab") as Command;
  expect(lab.commands.map(({ name }) => name)).toEqual(["down", "relay"]);
  expect(helpText([FLANNELD, lab])).not.toContain("relay");
});

test("the usage shows what is required, what is optional, and what is redirected", () => {
  const usages = PATHS.map((path) => helpText(path).split("\n")[0]);
  expect(usages).toContain("Usage: flanneld datastore migrate --to URLS [FLAG]...");
  expect(usages).toContain("Usage: flanneld datastore export [FLAG]... > FILE");
  expect(usages).toContain("Usage: flanneld lab down [NAME]");
  expect(usages).toContain("Usage: flanneld help [SUBCOMMAND]...");
  expect(usages).toContain("Usage: install-conf SOURCE TARGET");
});
