/** Reads a command line by the declarations of commands. Pure. */

import { assertNever } from "../base/assert_never.ts";
import { nearestWord } from "../base/nearest_word.ts";
import {
  type Command,
  commandName,
  type CommandPath,
  lastCommand,
  shownCommands,
} from "./command.ts";
import { ArgumentError, type Environment } from "./flag_reader.ts";
import { type FlagScan, scanFlags } from "./flag_syntax.ts";

export type CommandReading<Action> =
  | { readonly kind: "action"; readonly action: Action }
  | HelpRequest
  | CommandFault;

/** A request for the help of a command. */
export interface HelpRequest {
  readonly kind: "help";
  readonly path: CommandPath;
}

/** One line for standard error, and the exit status. */
export interface CommandFault {
  readonly kind: "error";
  /** Begins with the name of the command and ends with where to look. */
  readonly message: string;
  readonly exitCode: 1 | 2;
}

/** Reads the arguments after the name of the program. */
export function readCommand<Action>(
  program: Command<Action>,
  argv: readonly string[],
  environment: Environment,
): CommandReading<Action> {
  return readAt([program], argv, environment);
}

/** The command of these names below `program`. */
export function findCommand<Action>(
  program: Command<Action>,
  names: readonly string[],
): HelpRequest | CommandFault {
  let path: CommandPath<Action> = [program];
  for (const name of names) {
    const next = subcommand(path, name);
    if (typeof next === "string") return fault(path, next);
    path = [...path, next];
  }
  return { kind: "help", path };
}

function readAt<Action>(
  path: CommandPath<Action>,
  argv: readonly string[],
  environment: Environment,
): CommandReading<Action> {
  const command = lastCommand(path);
  const scan = scanFlags(argv, {
    flags: Object.values(command.flags),
    requests: command.version === undefined ? ["help"] : ["help", "version"],
    words: wordsOf(command),
  });
  switch (scan.kind) {
    case "error":
      return fault(path, scan.message);
    case "help":
      return { kind: "help", path };
    case "version":
      return { kind: "action", action: command.version as Action };
    case "scanned":
      return readWords(path, scan, environment);
    default:
      return assertNever(scan);
  }
}

function wordsOf(command: Command): "commands" | "arguments" | "none" {
  if (command.commands.length > 0) return "commands";
  return Object.keys(command.arguments).length > 0 ? "arguments" : "none";
}

function readWords<Action>(
  path: CommandPath<Action>,
  scan: FlagScan,
  environment: Environment,
): CommandReading<Action> {
  const { flags, rest: [name, ...args] } = scan;
  if (name === undefined || lastCommand(path).commands.length === 0) {
    return readAction(path, scan, environment);
  }
  const next = subcommand(path, name);
  if (typeof next === "string") return fault(path, next);
  return flags.length > 0
    ? fault(path, `flags are not allowed before the subcommand ${name}`)
    : readAt([...path, next], args, environment);
}

/** The subcommand of this name, or what is wrong with the name. */
function subcommand<Action>(path: CommandPath<Action>, name: string): Command<Action> | string {
  const { commands } = lastCommand(path);
  const found = commands.find((one) => one.name === name);
  if (found !== undefined) return found;
  if (commands.length === 0) return `unexpected argument "${name}"`;
  const names = shownCommands(lastCommand(path)).map((one) => one.name);
  const guess = nearestWord(name, names, 2);
  const hint = guess === undefined
    ? `the subcommands are ${names.join(", ")}`
    : `did you mean ${guess}?`;
  return `unknown subcommand "${name}"; ${hint}`;
}

function readAction<Action>(
  path: CommandPath<Action>,
  { flags, rest }: FlagScan,
  environment: Environment,
): CommandReading<Action> {
  const { read, outOfRangeStatus } = lastCommand(path);
  if (read === undefined) {
    const names = shownCommands(lastCommand(path)).map(({ name }) => name).join(", ");
    return fault(path, `the subcommand is missing; the subcommands are ${names}`);
  }
  try {
    return { kind: "action", action: read({ flags, texts: rest, environment }) };
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    return fault(path, error.message, error.isOutOfRange ? outOfRangeStatus : 2);
  }
}

function fault(path: CommandPath, message: string, exitCode: 1 | 2 = 2): CommandFault {
  const name = commandName(path);
  const separator = message.endsWith("?") ? "" : ";";
  return { kind: "error", message: `${name}: ${message}${separator} see ${name} --help`, exitCode };
}
