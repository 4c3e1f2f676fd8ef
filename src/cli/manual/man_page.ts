/** Man pages in mdoc(7), from the declarations of commands. */

import type { Argument } from "../argument.ts";
import {
  type Command,
  commandName,
  type CommandPath,
  lastCommand,
  type ManualEntry,
  shownCommands,
  shownFlags,
  shownPaths,
} from "../command.ts";
import { usageLines } from "../command_help.ts";
import type { Flag } from "../flag.ts";
import { wrapLines } from "../../base/text_wrap.ts";
import { flagSections } from "../flag_text.ts";

/** When the text of the pages was last revised. */
const DATE = "November 29, 2026";
/** Of the source. */
const WIDTH = 76;
/** Administration commands. */
const SECTION = 8;

export interface ManPage {
  /** Such as `flanneld-lab.8`. */
  readonly name: string;
  readonly text: string;
}

/** A page for a program, and one for each of its subcommands that has subcommands. */
export function manPages(program: Command): ManPage[] {
  const paths = [[program], ...pagesBelow(program).map((one) => [program, one])];
  return paths.map((path) => ({
    name: `${pageName(path)}.${SECTION}`,
    text: manPage(path, paths.filter((other) => other !== path)),
  }));
}

function pagesBelow(program: Command): Command[] {
  return shownCommands(program).filter(({ commands }) => commands.length > 0);
}

function manPage(path: CommandPath, others: readonly CommandPath[]): string {
  const command = lastCommand(path);
  const { summary, description, flags, manual } = command;
  const own = path.length === 1 ? pagesBelow(command) : [];
  const paths = shownPaths(path).filter((below) => !own.some((one) => below.includes(one)));
  const lines = [
    `.\\" Written by "npm run docs" from the declarations of commands in src/cli.`,
    `.Dd ${DATE}`,
    `.Dt ${pageName(path).toUpperCase()} ${SECTION}`,
    ".Os flanneld",
    ...section("NAME", [`.Nm ${pageName(path)}`, `.Nd ${escaped(summaryPhrase(summary))}`]),
    ...section("SYNOPSIS", paths.flatMap(usageLines).flatMap(synopsis)),
    ...section("DESCRIPTION", [
      ...paragraphs(description),
      ...(path.length === 1 ? paragraphs([SYNTAX]) : []),
    ]),
    ...section("OPTIONS", options(Object.values(flags))),
    ...section("SUBCOMMANDS", [
      ...(own.length > 0 ? list(own.map((one) => ownPage(path, one))) : []),
      ...subcommands(paths.slice(1), Object.values(flags)),
    ]),
    ...section("ENVIRONMENT", environment(paths)),
    ...section("FILES", entries("Pa", manual.files)),
    ...section("SIGNALS", entries("Dv", manual.signals)),
    ...section("EXIT STATUS", entries("Li", manual.exitStatuses)),
    ...section("EXAMPLES", examples(manual.examples)),
    ...section("SEE ALSO", references([...others.map(pageName), ...OTHER_PAGES])),
  ];
  return lines.join("\n") + "\n";
}

const SYNTAX =
  "The value of a flag follows after a space or an equals sign; that of a boolean only after an " +
  "equals sign. One dash is as good as two, and -- ends the flags. Numbers may be written as in " +
  "Go (0x10, 0o17, 1_000). A flag that may be repeated has a comma-separated list as its variable.";

const OTHER_PAGES = ["bridge", "ip", "iptables", "nft", "wg"];

/** Such as `flanneld-lab`. */
function pageName(path: CommandPath): string {
  return path.map(({ name }) => name).join("-");
}

/** As NAME has it: without a capital and a full stop. */
function summaryPhrase(summary: string): string {
  return summary.charAt(0).toLowerCase() + summary.slice(1).replace(/\.$/, "");
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`.Sh ${title}`, ...withoutLeadingBreak(lines)];
}

function subsection(title: string, lines: readonly string[]): string[] {
  return [`.Ss ${escaped(title)}`, ...withoutLeadingBreak(lines)];
}

/** A heading is a break already. */
function withoutLeadingBreak([first = "", ...others]: readonly string[]): string[] {
  return first === ".Pp" ? others : [first, ...others];
}

function synopsis(usage: string, index: number): string[] {
  return [...(index === 0 ? [] : [".Pp"]), `.Li ${escaped(usage)}`];
}

function paragraphs(texts: readonly string[]): string[] {
  return texts.flatMap((text) => [".Pp", ...sentences(text)]);
}

/** Each sentence begins a line. */
function sentences(text: string): string[] {
  return text.split(/(?<=\.) (?=[A-Z])/).flatMap((one) => wrapLines(one, WIDTH)).map(escaped);
}

function options(flags: readonly Flag<unknown>[]): string[] {
  const sections = flagSections(flags);
  if (sections.length === 1) return list(sections[0]?.flags.map(flagItem) ?? []);
  return sections.flatMap(({ title, flags }) => subsection(title, list(flags.map(flagItem))));
}

type Item = readonly string[];

function list(items: readonly Item[]): string[] {
  return [".Bl -tag -width Ds", ...items.flat(), ".El"];
}

function flagItem(flag: Flag<unknown>): Item {
  const { help, defaultText, environment, metavar } = flag;
  return [
    `.It ${flagName(flag)}${metavar === "" ? "" : ` Ar ${escaped(metavar)}`}`,
    ...sentences(help),
    ...(defaultText === "" || defaultText === "false"
      ? []
      : sentences(`The default is ${defaultText}.`)),
    ...(environment === undefined ? [] : ["Environment:", `.Ev ${environment} .`]),
  ];
}

function flagName({ name }: Flag<unknown>): string {
  return `Fl ${escaped(name.length === 1 ? name : `-${name}`)}`;
}

function argumentItem(argument: Argument<unknown>): Item {
  return [`.It Ar ${escaped(argument.metavar)}`, ...sentences(argument.help)];
}

function ownPage(path: CommandPath, command: Command): Item {
  return [
    `.It Cm ${escaped(command.name)}`,
    ...sentences(command.summary),
    "See",
    `.Xr ${pageName([...path, command])} ${SECTION} .`,
  ];
}

/** Describes each of them, and a flag that several have only once. */
function subcommands(paths: readonly CommandPath[], known: readonly Flag<unknown>[]): string[] {
  const described = new Set(known);
  return paths.flatMap((path) => {
    const command = lastCommand(path);
    const flags = shownFlags(command);
    const [again, first] = [
      flags.filter((flag) => described.has(flag)),
      flags.filter((flag) => !described.has(flag)),
    ];
    for (const flag of first) described.add(flag);
    const positional = Object.values(command.arguments);
    return subsection(commandName(path), [
      ...paragraphs(command.description.length > 0 ? command.description : [command.summary]),
      ...(again.length === 0 ? [] : [
        ".Pp",
        "Its flags include, as described above:",
        ...again.map(
          (flag, index) => `.${flagName(flag)} ${index === again.length - 1 ? "." : ","}`,
        ),
      ]),
      ...(positional.length + first.length === 0
        ? []
        : list([...positional.map(argumentItem), ...first.map(flagItem)])),
    ]);
  });
}

function environment(paths: readonly CommandPath[]): string[] {
  const variables = paths.flatMap((path) => lastCommand(path).manual.variables ?? []);
  const flags = paths.flatMap((path) => Object.values<Flag<unknown>>(lastCommand(path).flags));
  const hasVariables = flags.some(({ environment }) => environment !== undefined);
  return [
    ...(hasVariables ? paragraphs([PRECEDENCE]) : []),
    ...entries("Ev", variables),
  ];
}

const PRECEDENCE =
  "Where OPTIONS or SUBCOMMANDS name a variable, it sets the flag. The flag takes precedence " +
  "over the variable, and the variable over the default. An empty variable counts as unset.";

function entries(macro: string, given: readonly ManualEntry[] = []): string[] {
  if (given.length === 0) return [];
  return list(given.map(([term, text]) => [
    `.It ${term.split(", ").map((one) => `${macro} ${escaped(one)}`).join(" , ")}`,
    ...sentences(text),
  ]));
}

function examples(given: readonly ManualEntry[] = []): string[] {
  return given.flatMap(([line, text]) => [
    ".Pp",
    ...sentences(text.replace(/\.$/, ":")),
    ".Pp",
    `.Dl # ${escaped(line)}`,
  ]);
}

function references(names: readonly string[]): string[] {
  const sorted = [...names].sort();
  return sorted.map((name, index) =>
    `.Xr ${name} ${SECTION}${index === sorted.length - 1 ? "" : " ,"}`
  );
}

/** For a line of text or an argument of a macro: a hyphen that can be copied, no escapes. */
function escaped(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^([.'])/, "\\&$1");
}
