/** Reads the options of a table from the flags given and from the environment, and arguments. */

import { certificatePairProblem } from "../base/certificate_pair.ts";
import { type Argument, type ArgumentsOf, type ArgumentTable, argumentUsage } from "./argument.ts";
import type { Flag, FlagTable, OptionsOf } from "./flag.ts";
import type { GivenFlag } from "./flag_syntax.ts";

/** Process environment, or a part of it. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Arguments that cannot be used; the message names the flag, its value, and what to do. */
export class ArgumentError extends Error {
  override readonly name = "ArgumentError";
  /** The value has the right form, but is out of range. */
  readonly isOutOfRange: boolean;

  constructor(
    message: string,
    { isOutOfRange = false, ...options }: ErrorOptions & { readonly isOutOfRange?: boolean } = {},
  ) {
    super(message, options);
    this.isOutOfRange = isOutOfRange;
  }
}

/**
 * The option of each flag of the table. A flag takes precedence over its environment variable; an
 * empty variable counts as unset. Ignores flags of other tables. Throws `ArgumentError`.
 */
export function readFlags<Table extends FlagTable>(
  table: Table,
  given: readonly GivenFlag[],
  environment: Environment,
): OptionsOf<Table> {
  const options = Object.entries(table).map(([key, flag]) =>
    [key, readFlag(flag, given, environment)] as const
  );
  return Object.fromEntries(options) as OptionsOf<Table>;
}

function readFlag(
  flag: Flag<unknown>,
  given: readonly GivenFlag[],
  environment: Environment,
): unknown {
  const { source, texts } = givenTexts(flag, given, environment);
  if (flag.isRequired && texts.length === 0) {
    throw new ArgumentError(`--${flag.name} is missing; add --${flag.name} ${flag.metavar}`);
  }
  let option = flag.default;
  for (const text of texts) {
    const reading = flag.read(text);
    if (!("value" in reading)) {
      const shown = flag.isSecret ? "" : ` is "${withoutPasswords(text)}"; it`;
      throw new ArgumentError(`${source}${shown} must be ${reading.allowed}`, {
        isOutOfRange: reading.outOfRange === true,
      });
    }
    option = flag.isRepeatable && option !== flag.default
      ? [...option as unknown[], ...reading.value as unknown[]]
      : reading.value;
  }
  return option;
}

/** The value of each positional argument of the table. Throws `ArgumentError`. */
export function readArguments<Table extends ArgumentTable>(
  table: Table,
  texts: readonly string[],
): ArgumentsOf<Table> {
  const values: Record<string, unknown> = {};
  let index = 0;
  for (const [key, argument] of Object.entries(table)) {
    const own = texts.slice(index, index + argument.max);
    if (own.length < argument.min) throw new ArgumentError(`${argument.metavar} is missing`);
    values[key] = readArgument(argument, own);
    index += own.length;
  }
  const unexpected = texts[index];
  if (unexpected === undefined) return values as ArgumentsOf<Table>;
  const allowed = Object.values(table).map(argumentUsage).join(" ");
  throw new ArgumentError(
    `unexpected argument "${unexpected}"; it takes ${allowed === "" ? "no arguments" : allowed}`,
  );
}

function readArgument({ metavar, read }: Argument<unknown>, texts: readonly string[]): unknown {
  const reading = read(texts);
  if ("value" in reading) return reading.value;
  throw new ArgumentError(`${metavar} is "${texts.join(" ")}"; it must be ${reading.allowed}`);
}

/** The value for a message, without the user names and passwords of URLs in it. */
function withoutPasswords(text: string): string {
  return text.replace(/[^\s/@,]+:[^\s/@,]*@/g, "[redacted]@");
}

/** The texts that set a flag, and where they come from. */
function givenTexts(
  flag: Flag<unknown>,
  given: readonly GivenFlag[],
  environment: Environment,
): { source: string; texts: readonly string[] } {
  const texts = given.filter(({ name }) => name === flag.name).map(({ value }) => value);
  if (texts.length > 0 || flag.environment === undefined) {
    return { source: `--${flag.name}`, texts };
  }
  const text = environment[flag.environment];
  return {
    source: flag.environment,
    texts: text === undefined || text === "" ? [] : flag.splitEnvironment(text),
  };
}

/** Throws `ArgumentError` for a certificate without its key, or a key alone. */
export function checkCertificatePair(
  files: { readonly certFile: string; readonly keyFile: string },
  flags: { readonly cert: string; readonly key: string },
): void {
  const problem = certificatePairProblem(files, flags);
  if (problem !== undefined) throw new ArgumentError(problem);
}
