/** The text of `--help` of any command. */

import { argumentUsage } from "./argument.ts";
import {
  commandName,
  type CommandPath,
  lastCommand,
  type ManualEntry,
  shownCommands,
} from "./command.ts";
import type { Flag } from "./flag.ts";
import { wrapLines } from "../base/text_wrap.ts";
import { flagSections, flagUsage } from "./flag_text.ts";

const WIDTH = 100;
/** Where the descriptions start. */
const COLUMN = 34;

/** Ends with a line break. */
export function helpText(path: CommandPath): string {
  const command = lastCommand(path);
  const { summary, description, flags, version, manual } = command;
  const lines = [
    ...usageLines(path).map((usage, index) => `${index === 0 ? "Usage: " : "       "}${usage}`),
    ...paragraphs(description.length > 0 ? description : [summary]),
    ...entries("Subcommands", shownCommands(command).map(({ name, summary }) => [name, summary])),
    ...entries(
      "Arguments",
      Object.values(command.arguments).map(({ metavar, help }) => [metavar, help]),
    ),
    ...flagLines(Object.values(flags)),
    ...entries("Other", [
      ...(version === undefined ? [] : [["--version", "Print the version and exit."]] as const),
      ["--help, -h", "Print this text and exit."],
    ]),
    ...entries("Exit status", manual.exitStatuses ?? []),
  ];
  return lines.join("\n") + "\n";
}

/** The ways to start a command, such as `flanneld lab [FLAG]...`. */
export function usageLines(path: CommandPath): string[] {
  const { arguments: argumentTable, flags, commands, redirection, read } = lastCommand(path);
  const name = commandName(path);
  const all = Object.values<Flag<unknown>>(flags);
  const words = [
    name,
    ...all.filter(({ isRequired }) => isRequired).map(flagUsage),
    ...(all.some(({ isRequired }) => !isRequired) ? ["[FLAG]..."] : []),
    ...Object.values(argumentTable).map(argumentUsage),
    ...(redirection === "" ? [] : [redirection]),
  ];
  return [
    ...(read === undefined ? [] : [words.join(" ")]),
    ...(commands.length === 0 ? [] : [`${name} SUBCOMMAND [--help]`]),
  ];
}

function paragraphs(texts: readonly string[]): string[] {
  return texts.flatMap((text) => ["", ...wrapLines(text, WIDTH)]);
}

function flagLines(flags: readonly Flag<unknown>[]): string[] {
  const sections = flagSections(flags);
  return sections.flatMap(({ title, flags }) =>
    entries(
      sections.length === 1 ? "Flags" : title,
      flags.map((flag) => [flagUsage(flag), helpWithDefault(flag)]),
    )
  );
}

function helpWithDefault({ help, defaultText }: Flag<unknown>): string {
  return defaultText === "" || defaultText === "false" ? help : `${help} (default ${defaultText})`;
}

function entries(title: string, list: readonly ManualEntry[]): string[] {
  return list.length === 0 ? [] : ["", `${title}:`, ...list.flatMap(entryLines)];
}

function entryLines([term, description]: ManualEntry): string[] {
  const head = `  ${term}`;
  const indent = " ".repeat(COLUMN);
  const fits = head.length < COLUMN - 1;
  const [first, ...others] = wrapLines(description, WIDTH - COLUMN);
  return [
    ...(fits ? [] : [head]),
    `${fits ? head.padEnd(COLUMN) : indent}${first}`,
    ...others.map((line) => indent + line),
  ];
}
