/**
 * Reads the options of a JSON object that an operator wrote, according to a table of typed options.
 * Each backend describes its options with such a table.
 *
 * It behaves as Go's JSON decoder: keys match in any case, the last of several spellings of a key
 * wins, and `null` leaves the default.
 */

import { nearestWord } from "../base/nearest_word.ts";
import { quoted } from "../base/quoting.ts";
import { ConfigError } from "./config_error.ts";

/** One option. `integerOption`, `booleanOption` and `stringOption` create the usual ones. */
export interface OptionSpec<T> {
  readonly default: T;
  /** The accepted values, to follow "must be": "an integer from 0 to 65535". */
  readonly accepted: string;
  /** The value may not appear in messages. */
  readonly isSecret?: boolean;
  /** The option's value; `undefined` if it is invalid. */
  parse(value: unknown): T | undefined;
}

/** The options by name, spelled as in the manual. */
export type OptionSchema = Readonly<Record<string, OptionSpec<unknown>>>;

export type OptionValues<S extends OptionSchema> = {
  readonly [Name in keyof S]: S[Name] extends OptionSpec<infer T> ? T : never;
};

export interface OptionContext {
  /** Called with one line for each unknown key. */
  warn(message: string): void;
  /** The object, for messages: "the Backend object of /coreos.com/network/config". */
  readonly source?: string;
  /** Keys that are not in the schema but valid, because they are read elsewhere, such as `Type`. */
  readonly otherKeys?: readonly string[];
}

/** For a configuration whose warnings are reported when it is read elsewhere. */
export const NO_WARNINGS = { warn: (): void => {} };

/**
 * The value of each option of the schema; its default if `options` does not contain it. Unknown
 * keys are reported to `warn` with the nearest known name. Throws `ConfigError` for an invalid
 * value.
 */
export function readOptions<S extends OptionSchema>(
  options: Readonly<Record<string, unknown>>,
  schema: S,
  context: OptionContext,
): OptionValues<S> {
  const source = context.source ?? "the network configuration's Backend object";
  const names = new Map(Object.keys(schema).map((name) => [name.toLowerCase(), name]));
  const ignored = new Set(context.otherKeys?.map((name) => name.toLowerCase()));
  const values: Record<string, unknown> = {};
  for (const [name, type] of Object.entries(schema)) values[name] = type.default;
  let unknown = 0;
  for (const [key, value] of Object.entries(options)) {
    const name = names.get(key.toLowerCase());
    if (name !== undefined) {
      values[name] = readOption(name, value, schema[name] as OptionSpec<unknown>, source);
    } else if (!ignored.has(key.toLowerCase()) && unknown++ < MAX_UNKNOWN) {
      context.warn(unknownKey(key, [...names.values(), ...context.otherKeys ?? []], source));
    }
  }
  const more = unknown - MAX_UNKNOWN;
  if (more > 0) context.warn(`${more} more unknown keys in ${source} are ignored`);
  return values as OptionValues<S>;
}

/** An integer from `min` to `max`, both included. */
export function integerOption<D extends number | undefined>(
  limits: { readonly default: D; readonly min: number; readonly max: number },
): OptionSpec<number | D> {
  return {
    default: limits.default,
    accepted: `an integer from ${limits.min} to ${limits.max}`,
    parse: (value) =>
      typeof value === "number" && Number.isInteger(value) && value >= limits.min &&
        value <= limits.max
        ? value
        : undefined,
  };
}

export function booleanOption(value: { readonly default: boolean }): OptionSpec<boolean> {
  return {
    default: value.default,
    accepted: "true or false",
    parse: (value) => typeof value === "boolean" ? value : undefined,
  };
}

/** A string. With `choices`, one of them in any case; the value is spelled as in `choices`. */
export function stringOption<D extends string | undefined>(
  kind: {
    readonly default: D;
    readonly choices?: readonly string[];
    readonly secret?: boolean;
  },
): OptionSpec<string | D> {
  const { choices } = kind;
  return {
    default: kind.default,
    accepted: choices ? `one of ${choices.map(quote).join(", ")}` : "a string",
    isSecret: kind.secret ?? false,
    parse: (value) => {
      if (typeof value !== "string") return undefined;
      return choices
        ? choices.find((choice) => choice.toLowerCase() === value.toLowerCase())
        : value;
    },
  };
}

/** How many unknown keys are reported by name. */
const MAX_UNKNOWN = 10;

/** The message for an unknown key, with the known key that was probably meant. */
function unknownKey(key: string, known: readonly string[], source: string): string {
  const guess = nearestWord(key, known);
  const hint = guess === undefined ? "" : `; did you mean ${quote(guess)}?`;
  return `unknown key ${quoted(key)} in ${source} is ignored${hint}`;
}

function readOption<T>(name: string, value: unknown, type: OptionSpec<T>, source: string): T {
  if (value === null) return type.default;
  const read = type.parse(value);
  if (read !== undefined) return read;
  const given = type.isSecret
    ? "has an invalid value, which is secret and not shown"
    : `is ${quoted(value)}`;
  throw new ConfigError(`${name} in ${source} ${given}; it must be ${type.accepted}`, {
    key: name,
  });
}

function quote(text: string): string {
  return JSON.stringify(text);
}
