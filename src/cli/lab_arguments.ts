/** Parses the arguments after `flanneld lab`. Pure. */

import type { Family } from "../addr/ip.ts";
import type { LabOptions } from "../lab/lab.ts";
import { ArgumentError, readFlags } from "./flag_reader.ts";
import { type GivenFlag, isBlank, scanFlags } from "./flag_syntax.ts";
import { LAB_FLAGS } from "./lab_flags.ts";

export type LabCommand =
  | { readonly kind: "help" }
  | { readonly kind: "down"; readonly name?: string }
  | { readonly kind: "run"; readonly options: LabOptions; readonly json: boolean }
  | { readonly kind: "error"; readonly message: string };

/** `self`: the command that starts this program again. */
export function parseLabCommand(argv: readonly string[], self: readonly string[]): LabCommand {
  const scan = scanFlags(argv, {
    command: "flanneld lab",
    flags: Object.values(LAB_FLAGS),
    requests: ["help"],
  });
  if (scan.kind === "error") return scan;
  if (scan.kind !== "scanned") return { kind: "help" };
  const [word, ...rest] = scan.rest;
  if (word === "down" && scan.flags.length === 0) return parseDown(rest);
  if (word !== undefined) return fault(`unexpected argument "${word}"; see flanneld lab --help`);
  try {
    return parseRun(scan.flags, self);
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    return fault(error.message);
  }
}

function fault(message: string): LabCommand {
  return { kind: "error", message };
}

function parseRun(given: readonly GivenFlag[], self: readonly string[]): LabCommand {
  const { hosts, backend, ipv6, ipv6Only, etcd, keep, json, daemon } = readFlags(
    LAB_FLAGS,
    given,
    {},
  );
  const families: Family[] = ipv6Only ? [6] : ipv6 ? [4, 6] : [4];
  if (families.includes(6) && !backend.families.includes(6)) {
    return fault(`--backend ${backend.type} supports IPv4 only; omit --ipv6 and --ipv6-only`);
  }
  return {
    kind: "run",
    json,
    options: {
      hosts,
      backend,
      families,
      keep,
      daemon: daemon === "" ? self : [daemon],
      ...(etcd ? {} : { datastore: self }),
    },
  };
}

function parseDown(args: readonly string[]): LabCommand {
  const [name, ...others] = args.filter((argument) => !isBlank(argument));
  const unexpected = name?.startsWith("-") ? name : others[0];
  if (unexpected === "--help" || unexpected === "-h") return { kind: "help" };
  if (unexpected === undefined) return { kind: "down", ...(name === undefined ? {} : { name }) };
  return fault(`unexpected argument "${unexpected}"; down takes at most the name of one lab`);
}
