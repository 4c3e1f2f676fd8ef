/** docs/flags.md, from the tables of flags. */

import { type Command, lastCommand, type ManualEntry, shownPaths } from "../command.ts";
import { FLANNELD } from "../commands.ts";
import type { Flag } from "../flag.ts";
import { flagSections, flagUsage, wrapLines } from "../flag_text.ts";

const WIDTH = 100;

export function flagsPage(): string {
  const lines = [
    INTRODUCTION,
    ...flagLines(Object.values(FLANNELD.flags)),
    "",
    "## Other",
    "",
    "- `--version` prints the version, `--help` or `-h` the flags.",
    ...FLANNELD.commands.map(({ name, summary }) =>
      `- \`flanneld ${name}\`: ${summary.charAt(0).toLowerCase()}${summary.slice(1)}`
    ),
    ...FLANNELD.commands.flatMap((one) => flagLines(flagsOf(one))),
    "",
    "## Other environment variables",
    "",
    ...(FLANNELD.manual.variables ?? []).flatMap(variableLines),
  ];
  return lines.join("\n") + "\n";
}

/**
 * Those of a command and of all below it; what several of them have, once. The flags of the daemon
 * are described there.
 */
function flagsOf(command: Command): Flag<unknown>[] {
  const daemon = new Set<Flag<unknown>>(Object.values(FLANNELD.flags));
  const flags = new Set(
    shownPaths([command]).flatMap((path) => Object.values(lastCommand(path).flags)),
  );
  return [...flags.difference(daemon)];
}

function flagLines(flags: readonly Flag<unknown>[]): string[] {
  return flagSections(flags).flatMap(({ title, flags }) => [
    "",
    `## ${title}`,
    ...flags.flatMap((flag) => [
      "",
      `### \`${flagUsage(flag)}\``,
      "",
      ...wrapLines(flag.help, WIDTH),
      "",
      valuesLine(flag),
    ]),
  ]);
}

function valuesLine({ defaultText, environment }: Flag<unknown>): string {
  const shown = defaultText === "" ? "none" : `\`${defaultText}\``;
  return environment === undefined
    ? `Default: ${shown}.`
    : `Default: ${shown}. Environment: \`${environment}\`.`;
}

const INTRODUCTION = `# Flags and environment

<!-- Written by \`npm run docs\` from the declarations of commands in src/cli. -->

A flag is \`-name\`, \`--name\`, \`--name=value\` or \`--name value\`. A boolean is \`--ip-masq\`
or \`--ip-masq=false\`, never \`--ip-masq false\`. \`--\` ends the flags. Numbers may be written
as in Go (\`0x10\`, \`0o17\`, \`1_000\`). A blank argument that is not the value of a flag is
skipped: an empty variable in a systemd unit becomes one.

A flag takes precedence over its environment variable, and the variable over the default. An empty
variable counts as unset. The variable of a flag that may be repeated is a comma-separated list (in
\`--iface-regex\`, commas inside brackets or braces belong to the expression).

An invalid command line ends the program with status 2; a number out of range ends the daemon with
status 1. Either way, one line says what is allowed.`;

function variableLines([names, text]: ManualEntry): string[] {
  const shown = names.split(", ").map((name) => `\`${name}\``).join(", ");
  return wrapLines(`- ${shown}: ${text}`, WIDTH)
    .map((line, index) => index === 0 ? line : `  ${line}`);
}
