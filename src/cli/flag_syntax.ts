/**
 * Go's `flag` syntax: `-name`, `--name`, `-name=value`, `-name value`; a boolean takes its value by
 * `=` only; `--` or the first argument without a dash ends the flags.
 *
 * A blank argument is skipped, unless it is the value of a flag: `"${FLANNEL_OPTIONS}"` in a systemd
 * unit or a script becomes one if the variable is empty.
 */

import { nearestWord } from "../base/nearest_word.ts";

/** What the scanner must know of a flag. */
export interface FlagShape {
  readonly name: string;
  readonly isBoolean: boolean;
}

/** One flag as given, in order. A boolean without `=` has the value `true`. */
export interface GivenFlag {
  readonly name: string;
  readonly value: string;
}

export type Scan =
  | { readonly kind: "scanned"; readonly flags: readonly GivenFlag[]; readonly rest: string[] }
  | { readonly kind: "error"; readonly message: string };

/** Splits arguments into flags and what follows them; the first fault ends it. */
export function scanFlags(argv: readonly string[], shapes: readonly FlagShape[]): Scan {
  const flags: GivenFlag[] = [];
  let index = 0;
  while (index < argv.length) {
    const argument = argv[index] as string;
    if (isBlank(argument)) {
      index++;
      continue;
    }
    if (argument === "--") {
      return { kind: "scanned", flags, rest: withoutLeadingBlanks(argv.slice(index + 1)) };
    }
    if (argument.length < 2 || !argument.startsWith("-")) break;
    index++;
    const match = /^--?([^-=][^=]*)(?:=([\s\S]*))?$/.exec(argument);
    if (match === null) return { kind: "error", message: `bad flag syntax: ${argument}` };
    const [name, attached] = [match[1] as string, match[2]];
    const shape = shapes.find((candidate) => candidate.name === name);
    if (shape === undefined) return { kind: "error", message: unknownFlag(name, shapes) };
    if (attached !== undefined) flags.push({ name, value: attached });
    else if (shape.isBoolean) flags.push({ name, value: "true" });
    else if (index < argv.length) flags.push({ name, value: argv[index++] as string });
    else return { kind: "error", message: `--${name} needs a value` };
  }
  return { kind: "scanned", flags, rest: argv.slice(index) };
}

/** Only leading ones: later ones may be values of a subcommand's flags. */
export function withoutLeadingBlanks(argv: readonly string[]): string[] {
  const first = argv.findIndex((argument) => !isBlank(argument));
  return first < 0 ? [] : argv.slice(first);
}

export function isBlank(argument: string): boolean {
  return argument.trim() === "";
}

function unknownFlag(name: string, shapes: readonly FlagShape[]): string {
  if (/\s-/.test(name)) {
    return `several flags are in one argument: "--${name}"; ` +
      "in a systemd unit write $OPTIONS, not ${OPTIONS}, and in a shell leave out the quotes";
  }
  const guess = nearestWord(name, shapes.map((shape) => shape.name), Infinity);
  return `unknown flag --${name}; ${
    guess === undefined ? "see flanneld --help" : `the nearest known flag is --${guess}`
  }`;
}
