/**
 * Reads objects from JSON that a user wrote against a table of typed options, as Go's JSON decoder
 * would: keys match in any case, of several spellings of one key the last wins, `null` leaves the
 * default. Every backend describes its options with such a table.
 */

import { nearestWord } from "../base/nearest_word.ts";
import { quoted } from "../base/quoting.ts";
import { ConfigError } from "./config_error.ts";

/** What one option accepts. Make them with `integerOption`, `booleanOption` and `stringOption`. */
export interface OptionType<T> {
  readonly default: T;
  /** What is accepted, to follow "must be", such as "an integer from 0 to 65535". */
  readonly accepts: string;
  /** The value must not appear in messages. */
  readonly secret?: boolean;
  /** The option's value; `undefined` if it is not acceptable. */
  read(value: unknown): T | undefined;
}

/** By name, spelled as the manual spells it. */
export type OptionSchema = Readonly<Record<string, OptionType<unknown>>>;

export type OptionValues<S extends OptionSchema> = {
  readonly [Name in keyof S]: S[Name] extends OptionType<infer T> ? T : never;
};

export interface OptionContext {
  /** Gets one line for each unknown key. */
  warn(message: string): void;
  /** What the object is, for messages: "the Backend object of /coreos.com/network/config". */
  readonly where?: string;
  /** Keys that are not in the schema because somebody else reads them, such as `Type`. */
  readonly ignore?: readonly string[];
}

/**
 * The value of each option of `schema`, its default where `options` does not name it. Unknown keys
 * are reported to `context.warn` with the nearest known name. Throws `ConfigError` for a value that
 * the option does not accept.
 */
export function readOptions<S extends OptionSchema>(
  options: Readonly<Record<string, unknown>>,
  schema: S,
  context: OptionContext,
): OptionValues<S> {
  const where = context.where ?? "the network configuration's Backend object";
  const names = new Map(Object.keys(schema).map((name) => [name.toLowerCase(), name]));
  const ignored = new Set(context.ignore?.map((name) => name.toLowerCase()));
  const values: Record<string, unknown> = {};
  for (const [name, type] of Object.entries(schema)) values[name] = type.default;
  let unknown = 0;
  for (const [key, value] of Object.entries(options)) {
    const name = names.get(key.toLowerCase());
    if (name !== undefined) {
      values[name] = readOption(name, value, schema[name] as OptionType<unknown>, where);
    } else if (!ignored.has(key.toLowerCase()) && unknown++ < MAX_UNKNOWN) {
      context.warn(unknownKey(key, [...names.values(), ...context.ignore ?? []], where));
    }
  }
  const more = unknown - MAX_UNKNOWN;
  if (more > 0) context.warn(`${more} more unknown keys in ${where} are ignored`);
  return values as OptionValues<S>;
}

/** A whole number from `min` to `max`, both included. */
export function integerOption<D extends number | undefined>(
  limits: { readonly default: D; readonly min: number; readonly max: number },
): OptionType<number | D> {
  return {
    default: limits.default,
    accepts: `an integer from ${limits.min} to ${limits.max}`,
    read: (value) =>
      typeof value === "number" && Number.isInteger(value) && value >= limits.min &&
        value <= limits.max
        ? value
        : undefined,
  };
}

export function booleanOption(defaultValue: boolean): OptionType<boolean> {
  return {
    default: defaultValue,
    accepts: "true or false",
    read: (value) => typeof value === "boolean" ? value : undefined,
  };
}

/** Text; with `choices`, one of them in any case, given back as `choices` spells it. */
export function stringOption<D extends string | undefined>(
  kind: {
    readonly default: D;
    readonly choices?: readonly string[];
    readonly secret?: boolean;
  },
): OptionType<string | D> {
  const { choices } = kind;
  return {
    default: kind.default,
    accepts: choices ? `one of ${choices.map(quote).join(", ")}` : "a string",
    secret: kind.secret ?? false,
    read: (value) => {
      if (typeof value !== "string") return undefined;
      return choices
        ? choices.find((choice) => choice.toLowerCase() === value.toLowerCase())
        : value;
    },
  };
}

/** How many unknown keys are named. */
const MAX_UNKNOWN = 10;

/** The message for a key that nobody reads, with the known name it is probably meant to be. */
function unknownKey(key: string, known: readonly string[], where: string): string {
  const guess = nearestWord(key, known);
  const hint = guess === undefined ? "" : `; did you mean ${quote(guess)}?`;
  return `unknown key ${quoted(key)} in ${where} is ignored${hint}`;
}

function readOption<T>(name: string, value: unknown, type: OptionType<T>, where: string): T {
  if (value === null) return type.default;
  const read = type.read(value);
  if (read !== undefined) return read;
  const given = type.secret ? "has a value that is not shown" : `is ${quoted(value)}`;
  throw new ConfigError(`${name} in ${where} ${given}; it must be ${type.accepts}`);
}

function quote(text: string): string {
  return JSON.stringify(text);
}
