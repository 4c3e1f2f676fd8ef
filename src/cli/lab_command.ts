/** `flanneld lab`: a cluster on this machine, tried and removed. See docs/lab.md. */

import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Family } from "../addr/ip.ts";
import { BACKENDS } from "../backend/backend_registry.ts";
import { DEFAULT_BACKEND_TYPE } from "../config/network_config.ts";
import { backendFaults } from "../lab/lab_backend.ts";
import { LAB_KIND, type LabOptions, missingPrerequisites, removeLabs, runLab } from "../lab/lab.ts";
import { type LabReport, reportJson, reportText } from "../lab/lab_report.ts";
import { MAX_HOSTS } from "../lab/topology.ts";
import { printableLine } from "../base/quoting.ts";
import { isBlank, scanFlags } from "./flag_syntax.ts";
import { readBoolean } from "./flag_values.ts";

/** Where the command writes: results to `out`, progress and faults to `err`. */
export interface LabOutput {
  out(text: string): Promise<void>;
  err(text: string): void;
}

const LAB_USAGE =
  `Usage: flanneld lab [--hosts N] [--backend TYPE] [--ipv6|--ipv6-only] [--etcd] [--keep] [--json]
       flanneld lab down [NAME]

Builds hosts on this machine (network namespaces), runs this program in them, and pings every
workload from every other at full MTU. Removes everything afterwards. Needs root.

  --hosts N       how many hosts, 1 to ${MAX_HOSTS} (default 3)
  --backend TYPE  the network's backend (default ${DEFAULT_BACKEND_TYPE})
  --ipv6          IPv6 beside IPv4
  --ipv6-only     IPv6 alone
  --etcd          a real etcd instead of this program's datastore
  --keep          leave the hosts up and print how to look inside
  --json          print the result as one JSON document
  down [NAME]     remove what killed or kept labs left; with NAME, that one lab

Exit code: 0 if every ping came back, 1 if not, 2 for a wrong argument, 130 after Ctrl-C.
`;

const SHAPES = [
  { name: "hosts", isBoolean: false },
  { name: "backend", isBoolean: false },
  { name: "ipv6", isBoolean: true },
  { name: "ipv6-only", isBoolean: true },
  { name: "etcd", isBoolean: true },
  { name: "keep", isBoolean: true },
  { name: "json", isBoolean: true },
  { name: "help", isBoolean: true },
  { name: "h", isBoolean: true },
  // For tests: run this program instead of ourselves.
  { name: "daemon", isBoolean: false },
] as const;

export type LabCommand =
  | { readonly kind: "help" }
  | { readonly kind: "down"; readonly name?: string }
  | { readonly kind: "run"; readonly options: LabOptions; readonly json: boolean }
  | { readonly kind: "error"; readonly message: string };

/**
 * Runs the subcommand with the arguments that follow `lab` and returns the exit code. `self` starts
 * this same program.
 */
export async function labCommand(
  args: readonly string[],
  self: readonly string[],
  output: LabOutput,
): Promise<number> {
  const command = parseLabCommand(args, self);
  if (command.kind === "error") {
    output.err(`flanneld lab: ${printableLine(command.message)}\n`);
    return 2;
  }
  if (command.kind === "help") {
    await output.out(LAB_USAGE);
    return 0;
  }
  const needsEtcd = command.kind === "run" && command.options.datastore === undefined;
  const missing = missingPrerequisites({ etcd: needsEtcd });
  if (command.kind === "run" && missing.length === 0) {
    missing.push(...await backendFaults(command.options.backend));
  }
  if (missing.length > 0) {
    output.err(missing.map((line) => `flanneld lab: ${line}\n`).join(""));
    return 1;
  }
  return command.kind === "down" ? await down(command.name, output) : await tryLab(command, output);
}

/** Reads the arguments after `lab`. Pure. */
export function parseLabCommand(args: readonly string[], self: readonly string[]): LabCommand {
  const fault = (message: string): LabCommand => ({ kind: "error", message });
  const scan = scanFlags(args, SHAPES);
  if (scan.kind === "error") return fault(scan.message);
  const values = new Map(scan.flags.map(({ name, value }) => [name, value]));
  const switches = new Map<string, boolean>();
  for (const { name } of SHAPES.filter((shape) => shape.isBoolean)) {
    const reading = readBoolean(values.get(name) ?? "false");
    if (!("value" in reading)) {
      return fault(`--${name} is "${values.get(name)}"; it must be true or false`);
    }
    switches.set(name, reading.value);
  }
  if (switches.get("help") || switches.get("h")) return { kind: "help" };
  const [word, ...rest] = scan.rest;
  if (word === "down" && scan.flags.length === 0) return parseDown(rest);
  if (word !== undefined) return fault(`unexpected argument "${word}"; see flanneld lab --help`);
  const hosts = Number(values.get("hosts") ?? "3");
  if (!Number.isInteger(hosts) || hosts < 1 || hosts > MAX_HOSTS) {
    return fault(`--hosts is "${values.get("hosts")}"; it must be a number from 1 to ${MAX_HOSTS}`);
  }
  const type = values.get("backend") ?? DEFAULT_BACKEND_TYPE;
  const backend = BACKENDS.find(type);
  if (backend === undefined) {
    return fault(`--backend is "${type}"; it must be one of ${BACKENDS.types.join(", ")}`);
  }
  const families: Family[] = switches.get("ipv6-only") ? [6] : switches.get("ipv6") ? [4, 6] : [4];
  if (families.includes(6) && !backend.families.includes(6)) {
    return fault(`--backend ${backend.type} carries IPv4 only; leave out --ipv6 and --ipv6-only`);
  }
  const daemon = values.get("daemon");
  return {
    kind: "run",
    json: switches.get("json") === true,
    options: {
      hosts,
      backend,
      families,
      keep: switches.get("keep") === true,
      daemon: daemon === undefined ? self : [daemon],
      ...(switches.get("etcd") ? {} : { datastore: self }),
    },
  };
}

function parseDown(args: readonly string[]): LabCommand {
  const [name, ...others] = args.filter((argument) => !isBlank(argument));
  const unexpected = name?.startsWith("-") ? name : others[0];
  if (unexpected === "--help" || unexpected === "-h") return { kind: "help" };
  if (unexpected === undefined) return { kind: "down", ...(name === undefined ? {} : { name }) };
  return {
    kind: "error",
    message: `unexpected argument "${unexpected}"; down takes the name of one lab, or nothing`,
  };
}

async function down(name: string | undefined, output: LabOutput): Promise<number> {
  const removed = await removeLabs(name);
  for (const lab of removed) output.err(`removed ${lab}\n`);
  if (removed.length > 0) return 0;
  output.err(
    name === undefined
      ? "nothing to remove\n"
      : `flanneld lab: there is no lab ${name}; their names start with ${LAB_KIND}-\n`,
  );
  return name === undefined ? 0 : 1;
}

async function tryLab(
  command: Extract<LabCommand, { kind: "run" }>,
  output: LabOutput,
): Promise<number> {
  const abort = new AbortController();
  const interrupt = () => abort.abort(new Error("interrupted"));
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, interrupt);
  try {
    const report = await runLab(
      command.options,
      (line) => output.err(`${line}\n`),
      abort.signal,
    );
    await output.out(command.json ? reportJson(report) : `\n${reportText(report)}`);
    if (command.options.keep) output.err(lookInside(report));
    return report.ok ? 0 : 1;
  } catch (error) {
    if (abort.signal.aborted) return 130;
    output.err(`flanneld lab: ${(error as Error).message}\n`);
    return 1;
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
  }
}

function lookInside({ lab }: LabReport): string {
  return `
The lab is still up. To look inside:
  ip -n ${lab}-h1 route                     routes of the first host
  bridge -n ${lab}-h1 fdb show              its forwarding entries
  ip netns exec ${lab}-h1 bash              a shell on it
  ip netns exec ${lab}-w1 ping ADDRESS      from the workload behind it
  less ${join(tmpdir(), lab)}/h1/flanneld.log          its daemon's log
To remove it:
  flanneld lab down ${lab}
`;
}
