/** `flanneld lab`: builds a cluster on this machine, tests it, and removes it. See docs/lab.md. */

import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import { printableLine } from "../base/quoting.ts";
import { LAB_KIND, removeLabs, runLab } from "../lab/lab.ts";
import { missingPrerequisites } from "../lab/prerequisites.ts";
import { backendFaults } from "../lab/lab_backend.ts";
import { type LabReport, reportJson, reportText } from "../lab/lab_report.ts";
import { flagLines } from "./flag_help.ts";
import { type LabCommand, parseLabCommand } from "./lab_arguments.ts";
import { LAB_FLAGS } from "./lab_flags.ts";

/** Where the command writes: results to `out`, progress and errors to `err`. */
export interface LabOutput {
  out(text: string): Promise<void>;
  err(text: string): void;
}

const LAB_HELP = `Usage: flanneld lab [FLAG]...
       flanneld lab down [NAME]

Builds hosts on this machine (network namespaces), runs this program in them, and pings every
workload from every other at full MTU. Removes everything afterwards. Needs root.

down removes the labs that were killed or started with --keep; with NAME, only that lab.
${flagLines(Object.values(LAB_FLAGS)).join("\n")}

Exit status: 0 if every ping succeeded, 1 if not, 2 for an invalid argument, 130 after Ctrl-C.
`;

/**
 * Runs the subcommand with the arguments that follow `lab` and returns the exit status. `self`: the
 * command that starts this program again.
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
    await output.out(LAB_HELP);
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

async function down(name: string | undefined, output: LabOutput): Promise<number> {
  const removed = await removeLabs(name, systemClock);
  for (const lab of removed) output.err(`removed ${lab}\n`);
  if (removed.length > 0) return 0;
  output.err(
    name === undefined
      ? "nothing to remove\n"
      : `flanneld lab: no lab ${name}; the names of labs start with ${LAB_KIND}-\n`,
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
    const report = await runLab(command.options, {
      clock: systemClock,
      progress: (line) => output.err(`${line}\n`),
      signal: abort.signal,
    });
    await output.out(command.json ? reportJson(report) : `\n${reportText(report)}`);
    if (command.options.keep) output.err(inspectionHelp(report));
    return report.ok ? 0 : 1;
  } catch (error) {
    if (abort.signal.aborted) return 130;
    output.err(`flanneld lab: ${errorMessage(error)}\n`);
    return 1;
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
  }
}

function inspectionHelp({ lab }: LabReport): string {
  return `
The lab is still running. To inspect it:
  ip -n ${lab}-h1 route                     routes of the first host
  bridge -n ${lab}-h1 fdb show              forwarding entries of that host
  ip netns exec ${lab}-h1 bash              a shell on that host
  ip netns exec ${lab}-w1 ping ADDRESS      a ping from the workload on that host
  less ${join(tmpdir(), lab)}/h1/flanneld.log          the log of its daemon
To remove it:
  flanneld lab down ${lab}
`;
}
