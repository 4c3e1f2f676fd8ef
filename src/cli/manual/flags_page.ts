/** docs/flags.md, from the tables of flags. */

import { type Command, lastCommand, type ManualEntry, shownPaths } from "../command.ts";
import { FLANNELD } from "../commands.ts";
import type { Flag } from "../flag.ts";
import { wrapLines } from "../../base/text_wrap.ts";
import { flagSections, flagUsage } from "../flag_text.ts";

const WIDTH = 100;

export function flagsPage(): string {
  const lines = [
    INTRODUCTION,
    ...flagLines(FLAGS_OF_DAEMON),
    "",
    "## Other",
    "",
    "- `--version` prints the version, `--help` or `-h` the flags.",
    ...FLANNELD.commands.map(({ name, summary }) =>
      `- \`flanneld ${name}\`: ${summary.charAt(0).toLowerCase()}${summary.slice(1)}`
    ),
    ...FLANNELD.commands.flatMap((one) => {
      const flags = flagsOf(one);
      return [...flagLines(flags.difference(FLAGS_OF_DAEMON)), ...sharedLines(one, flags)];
    }),
    "",
    "## Other environment variables",
    "",
    ...(FLANNELD.manual.variables ?? []).flatMap(variableLines),
  ];
  return lines.join("\n") + "\n";
}

const FLAGS_OF_DAEMON = new Set<Flag<unknown>>(Object.values(FLANNELD.flags));

/** The flags of a command and of all its subcommands, each once. */
function flagsOf(command: Command): Set<Flag<unknown>> {
  return new Set(
    shownPaths([command]).flatMap((path) => Object.values(lastCommand(path).flags)),
  );
}

/** Names the flags that a command shares with the daemon, which are described there. */
function sharedLines({ name }: Command, flags: ReadonlySet<Flag<unknown>>): string[] {
  const shared = [...flags.intersection(FLAGS_OF_DAEMON)].map((flag) => `\`--${flag.name}\``);
  if (shared.length === 0) return [];
  const text = `\`flanneld ${name}\` also takes these flags of the daemon: ${shared.join(", ")}.`;
  return ["", ...wrapLines(text, WIDTH)];
}

function flagLines(flags: Iterable<Flag<unknown>>): string[] {
  return flagSections([...flags]).flatMap(({ title, flags }) => [
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
