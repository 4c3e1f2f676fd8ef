/**
 * What a command is, and how one is declared: the daemon, its subcommands, and theirs.
 *
 * These declarations are what reading the command line, `--help`, the manual and the completion of
 * shells come from.
 */

import type { ArgumentsOf, ArgumentTable } from "./argument.ts";
import { type Environment, readArguments, readFlags } from "./flag_reader.ts";
import type { Flag, FlagTable, OptionsOf } from "./flag.ts";
import type { GivenFlag } from "./flag_syntax.ts";

/** A command that results in an `Action`, which is data: reading a command line does nothing. */
export interface Command<Action = unknown> {
  readonly name: string;
  /** One sentence, for lists of commands. */
  readonly summary: string;
  /** Paragraphs that follow the usage. */
  readonly description: readonly string[];
  readonly flags: FlagTable;
  /** A command with subcommands has no arguments. */
  readonly arguments: ArgumentTable;
  readonly commands: readonly Command<Action>[];
  /** What follows the arguments in the usage, such as `> FILE`; empty for none. */
  readonly redirection: string;
  /** What `--version` results in; `undefined` if the command has no such flag. */
  readonly version: Action | undefined;
  /** The exit status for a number that is out of range. */
  readonly outOfRangeStatus: 1 | 2;
  readonly manual: CommandManual;
  /** For the program itself: not shown anywhere. */
  readonly isHidden: boolean;
  /** Throws `ArgumentError`. `undefined`: the command only has subcommands. */
  readonly read: ((given: GivenArguments) => Action) | undefined;
}

/** A command and those above it, from the program on: the words that start it. */
export type CommandPath<Action = unknown> = readonly Command<Action>[];

/** A part of a command line that belongs to one command. */
export interface GivenArguments {
  readonly flags: readonly GivenFlag[];
  readonly texts: readonly string[];
  readonly environment: Environment;
}

/** What the manual says about a command besides its flags. */
export interface CommandManual {
  /** Environment variables that belong to no flag. */
  readonly variables?: readonly ManualEntry[];
  readonly files?: readonly ManualEntry[];
  readonly signals?: readonly ManualEntry[];
  readonly exitStatuses?: readonly ManualEntry[];
  /** The term is a command line. */
  readonly examples?: readonly ManualEntry[];
}

/** A term and its description. */
export type ManualEntry = readonly [term: string, description: string];

interface Declaration<Flags extends FlagTable, Arguments extends ArgumentTable, Action> {
  readonly name: string;
  readonly summary: string;
  readonly description?: readonly string[];
  readonly flags?: Flags;
  readonly arguments?: Arguments;
  readonly commands?: readonly Command<Action>[];
  readonly redirection?: string;
  readonly version?: Action;
  readonly outOfRangeStatus?: 1 | 2;
  readonly manual?: CommandManual;
  readonly isHidden?: boolean;
  /** Throws `ArgumentError` for options that do not fit together. */
  read?(options: OptionsOf<Flags>, values: ArgumentsOf<Arguments>, given: GivenArguments): Action;
}

export function command<
  Action,
  Flags extends FlagTable = Record<never, never>,
  Arguments extends ArgumentTable = Record<never, never>,
>(declaration: Declaration<Flags, Arguments, Action>): Command<Action> {
  const { read, version } = declaration;
  const flags = declaration.flags ?? {} as Flags;
  const argumentTable = declaration.arguments ?? {} as Arguments;
  return {
    description: [],
    commands: [],
    redirection: "",
    outOfRangeStatus: 2,
    manual: {},
    isHidden: false,
    ...declaration,
    flags,
    arguments: argumentTable,
    version,
    read: read && ((given) =>
      read(
        readFlags(flags, given.flags, given.environment),
        readArguments(argumentTable, given.texts),
        given,
      )),
  };
}

/** The same command with another action. */
export function mapAction<From, To>(
  command: Command<From>,
  map: (action: From) => To,
): Command<To> {
  const { read, version } = command;
  return {
    ...command,
    commands: command.commands.map((one) => mapAction(one, map)),
    version: version === undefined ? undefined : map(version),
    read: read && ((given) => map(read(given))),
  };
}

/** The words that start a command, such as `flanneld datastore export`. */
export function commandName(path: CommandPath): string {
  return path.map(({ name }) => name).join(" ");
}

/** Its last command. */
export function lastCommand<Action>(path: CommandPath<Action>): Command<Action> {
  return path.at(-1) as Command<Action>;
}

/** The subcommands that are shown. */
export function shownCommands<Action>({ commands }: Command<Action>): Command<Action>[] {
  return commands.filter(({ isHidden }) => !isHidden);
}

/** The flags that are shown. */
export function shownFlags({ flags }: Pick<Command, "flags">): Flag<unknown>[] {
  return Object.values<Flag<unknown>>(flags).filter(({ isHidden }) => !isHidden);
}

/** The path and those of all subcommands below it that are shown. */
export function shownPaths(path: CommandPath): CommandPath[] {
  return [path, ...shownCommands(lastCommand(path)).flatMap((one) => shownPaths([...path, one]))];
}
