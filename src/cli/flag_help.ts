/** The help text and the page of the manual for any table of flags. */

import type { Flag } from "./flag.ts";

/** Columns of `--help` and of the manual's page. */
const WIDTH = 100;
/** Where the descriptions start in `--help`. */
const HELP_COLUMN = 34;

/** Lines of `--help`: each section with its flags, in the order of the table. */
export function flagLines(flags: readonly Flag<unknown>[]): string[] {
  return sectionsOf(flags).flatMap(({ title, flags }) => [
    "",
    `${title}:`,
    ...flags.flatMap((flag) => helpLines(flagUsage(flag), flagHelp(flag))),
  ]);
}

/** Lines of `--help` for a flag or a subcommand. */
export function helpLines(usage: string, help: string): string[] {
  const wrapped = wrap(help, WIDTH - HELP_COLUMN);
  const head = `  ${usage}`;
  const indent = " ".repeat(HELP_COLUMN);
  const fits = head.length < HELP_COLUMN - 1;
  const [first, ...others] = wrapped;
  return [
    ...(fits ? [] : [head]),
    `${fits ? head.padEnd(HELP_COLUMN) : indent}${first}`,
    ...others.map((line) => indent + line),
  ];
}

/** Lines of docs/flags.md: each section with its flags. */
export function flagPageLines(flags: readonly Flag<unknown>[]): string[] {
  return sectionsOf(flags).flatMap(({ title, flags }) => [
    "",
    `## ${title}`,
    ...flags.flatMap((flag) => [
      "",
      `### \`${flagUsage(flag)}\``,
      "",
      ...wrap(flag.help, WIDTH),
      "",
      pageValues(flag),
    ]),
  ]);
}

function sectionsOf(
  flags: readonly Flag<unknown>[],
): { readonly title: string; readonly flags: readonly Flag<unknown>[] }[] {
  const shown = flags.filter((flag) => !flag.isHidden);
  const titles = new Set(shown.map(({ section }) => section));
  return [...titles].map((title) => ({
    title,
    flags: shown.filter(({ section }) => section === title),
  }));
}

function flagUsage({ name, metavar }: Flag<unknown>): string {
  return `${name.length === 1 ? "-" : "--"}${name}${metavar === "" ? "" : ` ${metavar}`}`;
}

function flagHelp({ help, defaultText }: Flag<unknown>): string {
  return defaultText === "" || defaultText === "false" ? help : `${help} (default ${defaultText})`;
}

function pageValues({ defaultText, environment }: Flag<unknown>): string {
  const shown = defaultText === "" ? "none" : `\`${defaultText}\``;
  return environment === undefined
    ? `Default: ${shown}.`
    : `Default: ${shown}. Environment: \`${environment}\`.`;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) as string;
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}
