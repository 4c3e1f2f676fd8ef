/** From arguments and environment to what is to be done. Pure. */

import { nearestWord } from "../base/nearest_word.ts";
import { environmentName, type Flag, FLAGS } from "./flag_table.ts";
import { type GivenFlag, scanFlags, withoutLeadingBlanks } from "./flag_syntax.ts";
import { readBoolean } from "./flag_values.ts";
import type { DaemonOptions } from "./daemon_options.ts";

export type CommandLine =
  /** Run the daemon. The warnings are one line each, for the log. */
  | {
    readonly kind: "run";
    readonly options: DaemonOptions;
    readonly warnings: readonly string[];
  }
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  | { readonly kind: "subcommand"; readonly name: Subcommand; readonly args: string[] }
  /** One line for standard error; 2 for what cannot be read, 1 for a value outside its range. */
  | { readonly kind: "error"; readonly message: string; readonly exitCode: 1 | 2 };

/** What may stand in place of the flags. `version` and `help` are the flags of that name. */
export const SUBCOMMANDS = {
  lab: "Build hosts on this machine, run the daemon in each and try whether they reach each other.",
  datastore: "Serve the part of etcd's API that flannel uses, for a cluster without etcd.",
  licenses: "Print the licences of the parts of this program.",
  version: "Print the version.",
  help: "Print this text.",
} as const;
export type Subcommand = Exclude<keyof typeof SUBCOMMANDS, "version" | "help">;

/** Process environment, or a part of it. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Flags that say what to do and carry no option; they have no environment form. */
const ACTIONS = ["help", "h", "version"];

/**
 * Reads the command line (without the program's name). A flag wins over its environment variable,
 * an empty environment variable counts as unset.
 */
export function parseCommandLine(argv: readonly string[], env: Environment): CommandLine {
  const shapes = [
    ...Object.values(FLAGS),
    ...ACTIONS.map((name) => ({ name, isBoolean: true })),
  ];
  const scan = scanFlags(argv, shapes);
  if (scan.kind === "error") return fault(scan.message);
  const action = readActions(scan.flags);
  if (action !== undefined) return action;
  if (scan.rest.length > 0) return parseSubcommand(scan.rest, scan.flags);
  return readOptions(scan.flags, env);
}

function fault(message: string, exitCode: 1 | 2 = 2): CommandLine {
  return { kind: "error", message, exitCode };
}

/** `--help` wins over `--version`, wherever they stand. */
function readActions(flags: readonly GivenFlag[]): CommandLine | undefined {
  const wanted = new Set<string>();
  for (const { name, value } of flags.filter((flag) => ACTIONS.includes(flag.name))) {
    const reading = readBoolean(value);
    if (!("value" in reading)) return fault(`--${name} is "${value}"; it must be true or false`);
    if (reading.value) wanted.add(name);
  }
  if (wanted.has("help") || wanted.has("h")) return { kind: "help" };
  return wanted.has("version") ? { kind: "version" } : undefined;
}

function parseSubcommand(rest: string[], flags: readonly GivenFlag[]): CommandLine {
  const [name, ...args] = rest as [string, ...string[]];
  const last = flags.at(-1);
  const flag = Object.values<Flag<unknown>>(FLAGS).find((one) => one.name === last?.name);
  if (flag?.isBoolean && "value" in readBoolean(name)) {
    return fault(`unexpected "${name}" after --${flag.name}; write --${flag.name}=${name}`);
  }
  if (!Object.hasOwn(SUBCOMMANDS, name)) {
    const guess = nearestWord(name, Object.keys(SUBCOMMANDS), 2);
    const hint = guess !== undefined
      ? `did you mean ${guess}?`
      : `the subcommands are ${Object.keys(SUBCOMMANDS).join(", ")}`;
    return fault(`unknown subcommand "${name}"; ${hint}`);
  }
  if (flags.length > 0) return fault(`no flag may stand before the subcommand ${name}`);
  if (name === "version") return { kind: "version" };
  if (name !== "help") return { kind: "subcommand", name: name as Subcommand, args };
  const [topic] = withoutLeadingBlanks(args);
  if (topic === undefined || !Object.hasOwn(SUBCOMMANDS, topic)) return { kind: "help" };
  return topic === "help" || topic === "version"
    ? { kind: "help" }
    : { kind: "subcommand", name: topic as Subcommand, args: ["--help"] };
}

function readOptions(flags: readonly GivenFlag[], env: Environment): CommandLine {
  const options: Record<string, unknown> = {};
  for (const [key, flag] of Object.entries<Flag<unknown>>(FLAGS)) {
    const given = givenTexts(flag, flags, env);
    let value = flag.initial;
    for (const text of given.texts) {
      const reading = flag.read(text);
      if (!("value" in reading)) {
        const shown = flag.secret ? "" : ` is "${text}"; it`;
        return fault(
          `${given.source}${shown} must be ${reading.allowed}`,
          reading.outOfRange ? 1 : 2,
        );
      }
      value = flag.repeatable && value !== flag.initial
        ? [...value as unknown[], ...reading.value as unknown[]]
        : reading.value;
    }
    options[key] = value;
  }
  const command = checkTogether(options as DaemonOptions, env);
  if (command.kind !== "run") return command;
  return { ...command, warnings: [...emptyWarnings(flags), ...command.warnings] };
}

/** The texts that set a flag, and the name of the place they come from. */
function givenTexts(
  flag: Flag<unknown>,
  flags: readonly GivenFlag[],
  env: Environment,
): { source: string; texts: readonly string[] } {
  const texts = flags.filter((one) => one.name === flag.name).map((one) => one.value);
  if (texts.length > 0) return { source: `--${flag.name}`, texts };
  const variable = environmentName(flag.name);
  const text = env[variable];
  return {
    source: variable,
    texts: text === undefined || text === "" ? [] : flag.splitEnvironment(text),
  };
}

/** The rules that concern more than one flag. */
function checkTogether(options: DaemonOptions, env: Environment): CommandLine {
  if ((options.etcdKeyFile === "") !== (options.etcdCertFile === "")) {
    const [given, missing] = options.etcdKeyFile === ""
      ? ["--etcd-certfile", "--etcd-keyfile"]
      : ["--etcd-keyfile", "--etcd-certfile"];
    return fault(`${given} is given without ${missing}; a client certificate needs both`);
  }
  const hasTls = options.etcdCaFile !== "" || options.etcdCertFile !== "";
  const etcdEndpoints = options.etcdEndpoints.map((endpoint) =>
    endpoint.includes("://") ? endpoint : `${hasTls ? "https" : "http"}://${endpoint}`
  );
  return { kind: "run", options: { ...options, etcdEndpoints }, warnings: warnings(options, env) };
}

/** A variable of a script that was never set, most likely. */
function emptyWarnings(flags: readonly GivenFlag[]): string[] {
  return ["iface", "iface-regex"]
    .filter((name) => flags.some((one) => one.name === name && one.value === ""))
    .map((name) => `--${name} is empty and has no effect; leave it out, or name an interface`);
}

function warnings(options: DaemonOptions, env: Environment): string[] {
  const lines: string[] = [];
  for (
    const [name, value] of [["vmodule", options.vmodule], [
      "log_backtrace_at",
      options.logBacktraceAt,
    ]]
  ) {
    if (value !== "") lines.push(`--${name} has no effect; -v sets how much is logged`);
  }
  const known = Object.values(FLAGS).map((flag) => environmentName(flag.name));
  for (const variable of Object.keys(env).sort()) {
    if (!variable.startsWith("FLANNELD_") || known.includes(variable)) continue;
    // Few edits: Kubernetes sets FLANNELD_SERVICE_HOST and the like for a service of that name.
    const guess = nearestWord(variable, known, 3);
    if (guess !== undefined) {
      lines.push(`the environment variable ${variable} sets no flag; did you mean ${guess}?`);
    }
  }
  return lines;
}
