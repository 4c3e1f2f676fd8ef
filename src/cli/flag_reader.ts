/** Reads the options of a table from the flags given and from the environment. */

import { certificatePairProblem } from "../base/certificate_pair.ts";
import type { Flag, FlagTable, OptionsOf } from "./flag.ts";
import type { GivenFlag } from "./flag_syntax.ts";

/** Process environment, or a part of it. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Arguments that cannot be used; the message names the flag, its value, and what to do. */
export class ArgumentError extends Error {
  override readonly name = "ArgumentError";
  /** The value has the right form, but is out of range. */
  readonly isOutOfRange: boolean;

  constructor(message: string, { isOutOfRange = false } = {}) {
    super(message);
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
  let option = flag.default;
  for (const text of texts) {
    const reading = flag.read(text);
    if (!("value" in reading)) {
      const shown = flag.isSecret ? "" : ` is "${text}"; it`;
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
