/**
 * The program without its subcommands. The daemon needs no others at its start, so it does not load
 * them.
 */

import { type Command, command } from "./command.ts";
import { readCommand } from "./command_reader.ts";
import type { CommandLine } from "./command_line.ts";
import { type DaemonAction, readDaemon } from "./daemon_arguments.ts";
import { DAEMON_FLAGS } from "./daemon_flags.ts";
import { DAEMON_MANUAL } from "./daemon_manual.ts";
import type { Environment } from "./flag_reader.ts";

export interface VersionAction {
  readonly kind: "version";
  readonly json: boolean;
}

export const DAEMON: Command<DaemonAction | VersionAction> = command({
  name: "flanneld",
  summary: "Container overlay network daemon.",
  description: [
    "Gives this host a subnet of an overlay network and keeps the kernel's routes, neighbours " +
    "and firewall rules for all other hosts of the network.",
    "A flag is -name, --name, --name=value or --name value; a boolean is --name or --name=false. " +
    "Each flag has an environment variable: FLANNELD_ETCD_PREFIX for --etcd-prefix. The flag " +
    "takes precedence.",
  ],
  flags: DAEMON_FLAGS,
  version: { kind: "version", json: false },
  manual: DAEMON_MANUAL,
  // As Go flannel.
  outOfRangeStatus: 1,
  read: (options, _values, given): DaemonAction | VersionAction => readDaemon(options, given),
});

/**
 * Reads a command line that has only flags, without `--help`; `undefined` for any other one, which
 * may name a subcommand.
 */
export function parseDaemonLine(
  argv: readonly string[],
  environment: Environment,
): CommandLine | undefined {
  if (!argv.every((argument) => FLAG.test(argument) && !HELP.test(argument))) return undefined;
  const reading = readCommand(DAEMON, argv, environment);
  return reading.kind === "action" ? reading.action : reading;
}

const FLAG = /^--?[A-Za-z]/;
const HELP = /^--?(h|help|version)(=|$)/i;
