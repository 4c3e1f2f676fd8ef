/** What the completion of each shell knows about a command. */

import {
  type Command,
  commandName,
  type CommandPath,
  lastCommand,
  shownCommands,
  shownFlags,
  shownPaths,
} from "../command.ts";
import { shellQuoted } from "../../base/quoting.ts";
import type { Completion } from "../completion_kind.ts";
import type { Flag } from "../flag.ts";

export interface CompletedCommand {
  /** Such as `flanneld datastore`. */
  readonly name: string;
  readonly commands: readonly Described[];
  readonly flags: readonly CompletedFlag[];
  /** What its arguments are. */
  readonly words: Completion;
}

export interface CompletedFlag extends Described {
  readonly takesValue: boolean;
  readonly values: Completion;
}

export interface Described {
  /** Of a flag without dashes. */
  readonly name: string;
  /** One short phrase. */
  readonly description: string;
}

/** A program and all of its subcommands. */
export function completedCommands(program: Command): CompletedCommand[] {
  return shownPaths([program]).map(completedCommand);
}

function completedCommand(path: CommandPath): CompletedCommand {
  const command = lastCommand(path);
  const [first] = Object.values(command.arguments);
  return {
    name: commandName(path),
    commands: shownCommands(command).map(({ name, summary }) => ({
      name,
      description: phrase(summary),
    })),
    flags: [
      ...shownFlags(command).map(completedFlag),
      ...(command.version === undefined ? [] : [request("version", "Print the version and exit")]),
      request("help", "Print the usage and exit"),
    ],
    words: first?.completion ?? "none",
  };
}

function completedFlag({ name, help, isBoolean, completion }: Flag<unknown>): CompletedFlag {
  return { name, description: phrase(help), takesValue: !isBoolean, values: completion };
}

function request(name: string, description: string): CompletedFlag {
  return { name, description, takesValue: false, values: ["true", "false"] };
}

/** The first sentence, up to a colon or semicolon in it. */
function phrase(help: string): string {
  return help.replace(/(\.( .*)?|[:;] .*)$/s, "");
}

/** As it is written: a name of one letter with one dash. */
export function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}

/**
 * Patterns of the statement `case "COMMAND FLAG" in` of bash and zsh, with what to do for each; the
 * flag is empty for the arguments. Flags with the same completion have one pattern.
 */
export function valueCases(
  commands: readonly CompletedCommand[],
  statement: (completion: Completion) => string,
): string[] {
  const values = commands.flatMap(({ name, flags, words }) => [
    ...flags.map((flag) => ({ key: `${name} ${flag.name}`, completion: flag.values })),
    { key: `${name} `, completion: words },
  ]);
  const groups = Map.groupBy(
    values.filter(({ completion }) => completion !== "none"),
    ({ completion }) => statement(completion),
  );
  return [...groups].map(([text, items]) => {
    const keys = items.map(({ key }) => shellQuoted(key)).join(" | \\\n      ");
    return `    ${keys}) ${text} ;;`;
  });
}
