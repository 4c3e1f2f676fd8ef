/** The text of `flanneld --help`. */

import { DAEMON_FLAGS } from "./daemon_flags.ts";
import { flagLines, helpLines } from "./flag_help.ts";
import { SUBCOMMANDS } from "./subcommands.ts";

export function daemonHelp(): string {
  const lines = [
    "Usage: flanneld [FLAG]...",
    "       flanneld SUBCOMMAND [--help]",
    "",
    "Gives this host a subnet of an overlay network and keeps the kernel's routes, neighbours and",
    "firewall rules for all other hosts of the network.",
    "",
    "A flag is -name, --name, --name=value or --name value; a boolean is --name or --name=false.",
    "Each flag has an environment variable: FLANNELD_ETCD_PREFIX for --etcd-prefix. The flag takes",
    "precedence.",
    "",
    "Subcommands:",
    ...Object.entries(SUBCOMMANDS).flatMap(([name, help]) => helpLines(name, help)),
    ...flagLines(Object.values(DAEMON_FLAGS)),
    "",
    "Other:",
    ...helpLines("--version", "Print the version and exit."),
    ...helpLines("--help, -h", "Print this text and exit."),
  ];
  return lines.join("\n") + "\n";
}
