/**
 * What a flag is, and how one is declared.
 *
 * Each command has a table of flags (command.ts). The type of the parsed options, the checks, the
 * environment variables, `--help`, the manual and the completion of shells come from it.
 */

import type { Family, IpAddress } from "../addr/ip.ts";
import { isLogFormat, LOG_FORMATS, type LogFormat } from "../log/log_format.ts";
import type { Completion } from "./completion_kind.ts";
import {
  type FlagReading,
  readAddress,
  readBoolean,
  readInteger,
  splitList,
} from "./flag_values.ts";

export interface Flag<T> {
  /** Without dashes. */
  readonly name: string;
  /** The heading in `--help` and in the manual. */
  readonly section: string;
  /** One or two sentences for `--help` and the manual. */
  readonly help: string;
  /** The name of the value in `--help`; empty for a boolean. */
  readonly metavar: string;
  readonly default: T;
  /** The default in `--help`; empty for none. */
  readonly defaultText: string;
  /** The environment variable that sets the flag; `undefined` for none. */
  readonly environment: string | undefined;
  readonly isBoolean: boolean;
  /** The command cannot do without it. */
  readonly isRequired: boolean;
  /** Each further value is added; otherwise the last value counts. */
  readonly isRepeatable: boolean;
  /** The value is never shown. */
  readonly isSecret: boolean;
  /** For tests: not in `--help`. */
  readonly isHidden: boolean;
  /** What a shell offers as its value. */
  readonly completion: Completion;
  /** Splits the text of the variable into values: one, unless the flag is repeatable. */
  splitEnvironment(text: string): string[];
  read(text: string): FlagReading<T>;
}

/** The keys are the names of the parsed options. */
export type FlagTable = Readonly<Record<string, Flag<unknown>>>;

export type OptionsOf<Table extends FlagTable> = {
  readonly [Key in keyof Table]: Table[Key]["default"];
};

/** Those flags of a table that have these names. */
export function pickFlags<Table extends FlagTable, Name extends keyof Table & string>(
  table: Table,
  names: readonly Name[],
): Pick<Table, Name> {
  return Object.fromEntries(names.map((name) => [name, table[name]])) as Pick<Table, Name>;
}

/** What every declaration of a flag has. */
export interface FlagText {
  readonly name: string;
  readonly section: string;
  readonly help: string;
}

interface ValueFlagText extends FlagText {
  readonly metavar: string;
  readonly completion?: Completion;
}

/** Why a value is invalid, as the end of "it must be …"; `undefined` for a valid value. */
type Check = (value: string) => string | undefined;

/** The variable that belongs to a flag of the daemon. */
export function environmentName(flagName: string): string {
  return `FLANNELD_${flagName.toUpperCase().replaceAll("-", "_")}`;
}

/** The table with an environment variable for each flag. */
export function withEnvironment<Table extends FlagTable>(table: Table): Table {
  const entries = Object.entries(table).map(([key, flag]) =>
    [key, { ...flag, environment: environmentName(flag.name) }] as const
  );
  return Object.fromEntries(entries) as Table;
}

/** A flag whose value is read by a function of its own. */
export function custom<T>(
  { defaultText = "", ...flag }: ValueFlagText & {
    readonly default: T;
    readonly defaultText?: string;
    readonly isSecret?: boolean;
    read(text: string): FlagReading<T>;
  },
): Flag<T> {
  return { ...PLAIN, ...flag, defaultText };
}

export function text(
  { check, default: initial = "", ...flag }: ValueFlagText & {
    readonly default?: string;
    readonly isSecret?: boolean;
    readonly isHidden?: boolean;
    readonly check?: Check;
  },
): Flag<string> {
  return {
    ...PLAIN,
    ...flag,
    default: initial,
    defaultText: initial,
    read(value) {
      const allowed = check?.(value);
      return allowed === undefined ? { value } : { allowed };
    },
  };
}

/** A path; the empty text means none, where it is allowed. */
export function file(flag: PathFlagText): Flag<string> {
  return path({ ...flag, metavar: "FILE", completion: "file" });
}

export function directory(flag: PathFlagText): Flag<string> {
  return path({ ...flag, metavar: "DIRECTORY", completion: "directory" });
}

type PathFlagText = FlagText & { readonly default?: string; readonly mayBeEmpty?: boolean };

function path({ mayBeEmpty = true, ...flag }: PathFlagText & ValueFlagText): Flag<string> {
  const allowed = `the path of a ${flag.metavar.toLowerCase()}`;
  return text({ ...flag, check: (value) => value === "" && !mayBeEmpty ? allowed : undefined });
}

export function boolean(
  { default: initial = false, ...flag }: FlagText & { readonly default?: boolean },
): Flag<boolean> {
  return {
    ...PLAIN,
    ...flag,
    metavar: "",
    default: initial,
    defaultText: String(initial),
    isBoolean: true,
    completion: ["true", "false"],
    read: readBoolean,
  };
}

export function integer(
  { min, max, unit, ...flag }: ValueFlagText & {
    readonly default: number;
    readonly min: number;
    readonly max: number;
    readonly unit?: string;
  },
): Flag<number> {
  const range = { min, max, ...(unit !== undefined && { unit }) };
  return {
    ...PLAIN,
    ...flag,
    defaultText: String(flag.default),
    read: (value) => readInteger(value, range),
  };
}

/** One value that is a list; a second value replaces the first. */
export function list(
  { check, ...flag }: ValueFlagText & {
    readonly default: readonly string[];
    readonly isRequired?: boolean;
    readonly check?: Check;
  },
): Flag<readonly string[]> {
  return {
    ...PLAIN,
    ...flag,
    defaultText: flag.default.join(","),
    read(value) {
      const items = splitList(value);
      for (const item of items) {
        const allowed = check?.(item);
        if (allowed !== undefined) return { allowed };
      }
      return items.length > 0 ? { value: items } : { allowed: "a list with at least one item" };
    },
  };
}

/** A flag that is given once for each item; an empty item is ignored. */
export function repeated(
  { check, split = splitList, ...flag }: ValueFlagText & {
    readonly check?: Check;
    readonly split?: (text: string) => string[];
  },
): Flag<readonly string[]> {
  return {
    ...PLAIN,
    ...flag,
    default: [],
    isRepeatable: true,
    splitEnvironment: split,
    read(value) {
      const allowed = check?.(value);
      return allowed === undefined ? { value: value === "" ? [] : [value] } : { allowed };
    },
  };
}

export function address(
  { family, ...flag }: ValueFlagText & { readonly family: Family },
): Flag<IpAddress | undefined> {
  return {
    ...PLAIN,
    ...flag,
    default: undefined,
    read: (value) => readAddress(value, family),
  };
}

/** `-v`, of each program that logs. Shells offer the levels that differ in effect. */
export function verbosity(
  flag: { readonly section: string; readonly help: string; readonly max: number },
): Flag<number> {
  return integer({
    ...flag,
    name: "v",
    metavar: "N",
    default: 0,
    min: 0,
    completion: ["0", "1", "2", "3", "4", "5"],
  });
}

/** `--log-format`, of each program that logs. */
export function logFormat(section: string): Flag<LogFormat> {
  return custom<LogFormat>({
    name: "log-format",
    section,
    metavar: "FORMAT",
    help: "Format of the log: lines like those of klog (text), or one JSON object per line (json).",
    default: "text",
    defaultText: "text",
    completion: LOG_FORMATS,
    read: (value) => isLogFormat(value) ? { value } : { allowed: LOG_FORMATS.join(" or ") },
  });
}

const PLAIN = {
  defaultText: "",
  environment: undefined,
  isBoolean: false,
  isRequired: false,
  isRepeatable: false,
  isSecret: false,
  isHidden: false,
  completion: "none" as const,
  splitEnvironment: (value: string) => [value],
};
