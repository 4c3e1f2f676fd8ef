/** Reads the flags and the environment of the daemon. Pure. */

import { nearestWord } from "../base/nearest_word.ts";
import type { GivenArguments } from "./command.ts";
import { DAEMON_FLAGS } from "./daemon_flags.ts";
import type { DaemonOptions } from "./daemon_options.ts";
import type { Environment } from "./flag_reader.ts";
import type { GivenFlag } from "./flag_syntax.ts";
import { readStoreOptions } from "./store_flags.ts";

export interface DaemonAction {
  readonly kind: "daemon";
  readonly options: DaemonOptions;
  /** Each is one line for the log. */
  readonly warnings: readonly string[];
}

/** Throws `ArgumentError` for options that do not fit together. */
export function readDaemon(
  options: DaemonOptions,
  { flags, environment }: GivenArguments,
): DaemonAction {
  return {
    kind: "daemon",
    options: readStoreOptions(options),
    warnings: [
      ...emptyInterfaceWarnings(flags),
      ...noEffectWarnings(options),
      ...joinWarnings(options, { flags, environment }),
      ...unknownVariableWarnings(environment),
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

/** `--join` names the datastore, with its CA and its user. */
function joinWarnings(
  { join, joinFile, kubeSubnetManager }: DaemonOptions,
  { flags, environment }: Pick<GivenArguments, "flags" | "environment">,
): string[] {
  const given = join !== undefined ? "--join" : joinFile !== "" ? "--join-file" : undefined;
  if (given === undefined) return [];
  if (kubeSubnetManager) return [`${given} has no effect with --kube-subnet-mgr`];
  const isGiven = ({ name, environment: variable = "" }: (typeof ETCD_FLAGS)[number]) =>
    flags.some((flag) => flag.name === name) || (environment[variable] ?? "") !== "";
  const names = ETCD_FLAGS.filter(isGiven).map(({ name }) => `--${name}`);
  return names.length === 0 ? [] : [
    `${given} names the datastore; ${names.join(", ")} ${
      names.length === 1 ? "has" : "have"
    } no effect`,
  ];
}

const ETCD_FLAGS = [
  DAEMON_FLAGS.etcdEndpoints,
  DAEMON_FLAGS.etcdCaFile,
  DAEMON_FLAGS.etcdCertFile,
  DAEMON_FLAGS.etcdKeyFile,
  DAEMON_FLAGS.etcdUsername,
  DAEMON_FLAGS.etcdPassword,
];

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
