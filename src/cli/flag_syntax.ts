/**
 * Go's `flag` syntax: `-name`, `--name`, `-name=value`, `-name value`; a boolean takes its value
 * only after `=`; `--` or the name of a subcommand ends the flags.
 *
 * A blank argument is skipped, unless it is the value of a flag: `"${FLANNEL_OPTIONS}"` in a
 * systemd unit or a script is a blank argument if the variable is empty.
 */

import { nearestWord } from "../base/nearest_word.ts";
import type { Flag } from "./flag.ts";
import { readBoolean } from "./flag_values.ts";

/** One flag as given, in order. A boolean without `=` has the value `true`. */
export interface GivenFlag {
  readonly name: string;
  readonly value: string;
}

/** A request for text instead of work: flags that every command takes, without a variable. */
export type TextRequest = "help" | "version";

export interface FlagScan {
  readonly flags: readonly GivenFlag[];
  /** The other words; from a subcommand on, also its flags. */
  readonly rest: string[];
}

export type Scan =
  | { readonly kind: "scanned" } & FlagScan
  | { readonly kind: TextRequest }
  | { readonly kind: "error"; readonly message: string };

export interface ScanOptions {
  readonly flags: readonly Pick<Flag<unknown>, "name" | "isBoolean" | "isHidden">[];
  /** `help` includes `-h`. */
  readonly requests: readonly TextRequest[];
  /** What a word without a dash is. Only the name of a subcommand ends the flags. */
  readonly words: "commands" | "arguments" | "none";
}

/**
 * Splits arguments into flags and other words, up to the first fault. `--help` takes precedence
 * over `--version`, wherever they are; other flags may have invalid values then.
 */
export function scanFlags(argv: readonly string[], options: ScanOptions): Scan {
  const requestNames = options.requests.flatMap((name) => name === "help" ? ["help", "h"] : [name]);
  const known = [
    ...options.flags,
    ...requestNames.map((name) => ({ name, isBoolean: true, isHidden: name === "h" })),
  ];
  const flags: GivenFlag[] = [];
  const rest: string[] = [];
  for (let index = 0; index < argv.length;) {
    const argument = argv[index++] as string;
    if (isBlank(argument)) continue;
    if (argument === "--") {
      rest.push(...withoutLeadingBlanks(argv.slice(index)));
      break;
    }
    if (argument.length < 2 || !argument.startsWith("-")) {
      if (options.words === "commands") {
        rest.push(...argv.slice(index - 1));
        break;
      }
      rest.push(argument);
      continue;
    }
    const match = /^--?([^-=][^=]*)(?:=([\s\S]*))?$/.exec(argument);
    if (match === null) return fault(`invalid flag syntax: ${argument}`);
    const [name, attached] = [match[1] as string, match[2]];
    const flag = known.find((candidate) => candidate.name === name);
    if (flag === undefined) {
      const names = known.filter((one) => !one.isHidden).map((one) => one.name);
      return fault(unknownFlag(name, names));
    }
    if (attached !== undefined) flags.push({ name, value: attached });
    else if (flag.isBoolean) {
      const next = argv[index] ?? "";
      if (options.words !== "arguments" && "value" in readBoolean(next)) {
        return fault(`unexpected "${next}" after --${name}; write --${name}=${next}`);
      }
      flags.push({ name, value: "true" });
    } else if (index < argv.length) flags.push({ name, value: argv[index++] as string });
    else return fault(`--${name} needs a value`);
  }
  return withRequests({ flags, rest }, requestNames);
}

function withRequests({ flags: given, rest }: FlagScan, requestNames: readonly string[]): Scan {
  const wanted = new Set<string>();
  for (const { name, value } of given.filter((flag) => requestNames.includes(flag.name))) {
    const reading = readBoolean(value);
    if (!("value" in reading)) return fault(`--${name} is "${value}"; it must be true or false`);
    if (reading.value) wanted.add(name);
  }
  if (wanted.has("help") || wanted.has("h")) return { kind: "help" };
  if (wanted.has("version")) return { kind: "version" };
  const flags = given.filter((flag) => !requestNames.includes(flag.name));
  return { kind: "scanned", flags, rest };
}

/** Only leading ones: later ones may be values of the flags of a subcommand. */
function withoutLeadingBlanks(argv: readonly string[]): string[] {
  const first = argv.findIndex((argument) => !isBlank(argument));
  return first < 0 ? [] : argv.slice(first);
}

function isBlank(argument: string): boolean {
  return argument.trim() === "";
}

function fault(message: string): Scan {
  return { kind: "error", message };
}

function unknownFlag(name: string, known: readonly string[]): string {
  if (/\s-/.test(name)) {
    return `several flags in one argument: "--${name}"; ` +
      "write $OPTIONS instead of ${OPTIONS} in a systemd unit, and no quotes around it in a shell";
  }
  const guess = nearestWord(name, known, Infinity);
  return `unknown flag --${name}` +
    (guess === undefined ? "" : `; the nearest known flag is --${guess}`);
}
