/** Parses the command line and the environment of `flanneld`. Pure. */

import { nearestWord } from "../base/nearest_word.ts";
import type { Flag } from "./flag.ts";
import { DAEMON_FLAGS } from "./daemon_flags.ts";
import type { DaemonOptions } from "./daemon_options.ts";
import { ArgumentError, checkCertificatePair, type Environment, readFlags } from "./flag_reader.ts";
import { type GivenFlag, scanFlags, withoutLeadingBlanks } from "./flag_syntax.ts";
import { readBoolean } from "./flag_values.ts";
import { type Subcommand, SUBCOMMANDS } from "./subcommands.ts";

export type CommandLine =
  /** Run the daemon. Each warning is one line for the log. */
  | {
    readonly kind: "run";
    readonly options: DaemonOptions;
    readonly warnings: readonly string[];
  }
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  | { readonly kind: "subcommand"; readonly name: Subcommand; readonly args: string[] }
  /** One line for standard error. Status 1: a number out of range; 2: any other fault. */
  | { readonly kind: "error"; readonly message: string; readonly exitCode: 1 | 2 };

/** Parses the arguments after the name of the program. */
export function parseCommandLine(argv: readonly string[], env: Environment): CommandLine {
  const scan = scanFlags(argv, {
    command: "flanneld",
    flags: Object.values(DAEMON_FLAGS),
    requests: ["help", "version"],
  });
  if (scan.kind === "error") return fault(scan.message);
  if (scan.kind !== "scanned") return scan;
  if (scan.rest.length > 0) return parseSubcommand(scan.rest, scan.flags);
  try {
    return parseDaemonFlags(scan.flags, env);
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    return fault(error.message, error.isOutOfRange ? 1 : 2);
  }
}

function fault(message: string, exitCode: 1 | 2 = 2): CommandLine {
  return { kind: "error", message, exitCode };
}

function parseSubcommand(rest: string[], flags: readonly GivenFlag[]): CommandLine {
  const [name, ...args] = rest as [string, ...string[]];
  const last = flags.at(-1);
  const flag = Object.values<Flag<unknown>>(DAEMON_FLAGS).find((one) => one.name === last?.name);
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
  if (flags.length > 0) return fault(`flags are not allowed before the subcommand ${name}`);
  if (name === "version") return { kind: "version" };
  if (name !== "help") return { kind: "subcommand", name: name as Subcommand, args };
  const [topic] = withoutLeadingBlanks(args);
  if (topic === undefined || !Object.hasOwn(SUBCOMMANDS, topic)) return { kind: "help" };
  return topic === "help" || topic === "version"
    ? { kind: "help" }
    : { kind: "subcommand", name: topic as Subcommand, args: ["--help"] };
}

function parseDaemonFlags(given: readonly GivenFlag[], env: Environment): CommandLine {
  const options = readFlags(DAEMON_FLAGS, given, env);
  const { etcdCertFile: certFile, etcdKeyFile: keyFile } = options;
  checkCertificatePair({ certFile, keyFile }, { cert: "--etcd-certfile", key: "--etcd-keyfile" });
  const scheme = options.etcdCaFile !== "" || certFile !== "" ? "https" : "http";
  const etcdEndpoints = options.etcdEndpoints.map((endpoint) =>
    endpoint.includes("://") ? endpoint : `${scheme}://${endpoint}`
  );
  return {
    kind: "run",
    options: { ...options, etcdEndpoints },
    warnings: [
      ...emptyInterfaceWarnings(given),
      ...noEffectWarnings(options),
      ...unknownVariableWarnings(env),
    ],
  };
}

/** Probably an unset variable of a script. */
function emptyInterfaceWarnings(given: readonly GivenFlag[]): string[] {
  return ["iface", "iface-regex"]
    .filter((name) => given.some((one) => one.name === name && one.value === ""))
    .map((name) => `--${name} is empty and has no effect; omit it or name an interface`);
}

function noEffectWarnings({ vmodule, logBacktraceAt }: DaemonOptions): string[] {
  const given = [...(vmodule ? ["vmodule"] : []), ...(logBacktraceAt ? ["log_backtrace_at"] : [])];
  return given.map((name) => `--${name} has no effect; use -v for the verbosity of the log`);
}

function unknownVariableWarnings(env: Environment): string[] {
  const known = Object.values(DAEMON_FLAGS).flatMap((flag) => flag.environment ?? []);
  const unknown = Object.keys(env).sort()
    .filter((variable) => variable.startsWith("FLANNELD_") && !known.includes(variable));
  return unknown.flatMap((variable) => {
    // Few edits: Kubernetes sets FLANNELD_SERVICE_HOST and the like for a service of that name.
    const guess = nearestWord(variable, known, 3);
    if (guess === undefined) return [];
    return [`unknown environment variable ${variable}; did you mean ${guess}?`];
  });
}
