/** What a positional argument is, and how one is declared. */

import type { Completion } from "./completion_kind.ts";
import type { FlagReading } from "./flag_values.ts";

export interface Argument<T> {
  /** Its name in the usage and in messages, such as `NAME`. */
  readonly metavar: string;
  /** One or two sentences for `--help` and the manual. */
  readonly help: string;
  /** How many arguments it takes. */
  readonly min: 0 | 1;
  readonly max: number;
  readonly completion: Completion;
  /** Reads between `min` and `max` texts. */
  read(texts: readonly string[]): FlagReading<T>;
}

/** In the order of the command line. The keys are the names of the values. */
export type ArgumentTable = Readonly<Record<string, Argument<unknown>>>;

export type ArgumentsOf<Table extends ArgumentTable> = {
  readonly [Key in keyof Table]: Table[Key] extends Argument<infer T> ? T : never;
};

export interface ArgumentText {
  readonly metavar: string;
  readonly help: string;
  readonly completion?: Completion;
}

export function argument(text: ArgumentText): Argument<string> {
  const read = ([value]: readonly string[]) => ({ value: value as string });
  return { completion: "none", ...text, min: 1, max: 1, read };
}

export function optionalArgument(text: ArgumentText): Argument<string | undefined> {
  const read = ([value]: readonly string[]) => ({ value });
  return { completion: "none", ...text, min: 0, max: 1, read };
}

/** All further arguments, possibly none. */
export function repeatedArgument(text: ArgumentText): Argument<readonly string[]> {
  const read = (value: readonly string[]) => ({ value });
  return { completion: "none", ...text, min: 0, max: Infinity, read };
}

/** As in a usage: `NAME`, `[NAME]`, `[NAME]...`. */
export function argumentUsage({ metavar, min, max }: Argument<unknown>): string {
  return (min === 0 ? `[${metavar}]` : metavar) + (max > 1 ? "..." : "");
}
