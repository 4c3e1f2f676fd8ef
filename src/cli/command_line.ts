/** Parses the command line and the environment of a program. Pure. */

import { type CommandFault, findCommand, type HelpRequest, readCommand } from "./command_reader.ts";
import { FLANNELD, type ProgramAction } from "./commands.ts";
import type { Environment } from "./flag_reader.ts";

export type CommandLine =
  | Exclude<ProgramAction, { kind: "help" }>
  | HelpRequest
  | CommandFault;

/** Parses the arguments after the name of the program. */
export function parseCommandLine(
  argv: readonly string[],
  environment: Environment,
  program = FLANNELD,
): CommandLine {
  const reading = readCommand(program, argv, environment);
  if (reading.kind !== "action") return reading;
  const { action } = reading;
  return action.kind === "help" ? findCommand(program, action.names) : action;
}
