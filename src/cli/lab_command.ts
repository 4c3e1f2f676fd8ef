/** `flanneld lab`: builds a cluster on this machine, tests it, and removes it. See docs/lab.md. */

import { tmpdir } from "node:os";
import { join } from "node:path";
import { assertNever } from "../base/assert_never.ts";
import { systemClock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import { missingKubePrograms } from "../lab/kube/kube_prerequisites.ts";
import { relaySocket } from "../lab/kube/socket_relay.ts";
import { LAB_KIND, removeLabs, runLab } from "../lab/lab.ts";
import { missingPrerequisites } from "../lab/prerequisites.ts";
import { backendFaults } from "../lab/lab_backend.ts";
import type { LabOptions } from "../lab/lab_options.ts";
import { type LabReport, reportJson, reportText } from "../lab/lab_report.ts";
import type { LabAction, LabRun } from "./lab_arguments.ts";

/** Where the command writes: results to `out`, progress and errors to `err`. */
export interface LabOutput {
  out(text: string): Promise<void>;
  err(text: string): void;
}

/**
 * Runs the subcommand and returns the exit status. `self`: the command that starts this program
 * again.
 */
export async function labCommand(
  action: LabAction,
  self: readonly string[],
  output: LabOutput,
): Promise<number> {
  switch (action.kind) {
    case "relay":
      await relaySocket(action.relay);
      return 0;
    case "down": {
      const missing = missingPrerequisites({ etcd: false });
      return missing.length > 0 ? refuse(missing, output) : await down(action.name, output);
    }
    case "run": {
      const options = labOptions(action, self);
      const missing = await missingFor(options);
      return missing.length > 0 ? refuse(missing, output) : await tryLab(options, action, output);
    }
    default:
      return assertNever(action);
  }
}

async function missingFor({ backend, datastore, kube }: LabOptions): Promise<readonly string[]> {
  const missing = missingPrerequisites({ etcd: datastore === undefined });
  if (missing.length > 0) return missing;
  return [
    ...await backendFaults(backend),
    ...(kube === undefined ? [] : missingKubePrograms(kube)),
  ];
}

function refuse(missing: readonly string[], output: LabOutput): number {
  output.err(missing.map((line) => `flanneld lab: ${line}\n`).join(""));
  return 1;
}

function labOptions(
  { hosts, backend, families, keep, daemon, etcd, kube }: LabRun,
  self: readonly string[],
): LabOptions {
  return {
    hosts,
    backend,
    families,
    keep,
    daemon: daemon === "" ? self : [daemon],
    ...(etcd ? {} : { datastore: self }),
    ...(kube !== undefined && { kube: { ...kube, flanneld: self } }),
  };
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
  options: LabOptions,
  { json }: Pick<LabRun, "json">,
  output: LabOutput,
): Promise<number> {
  const abort = new AbortController();
  const interrupt = () => abort.abort(new Error("interrupted"));
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, interrupt);
  try {
    const report = await runLab(options, {
      clock: systemClock,
      progress: (line) => output.err(`${line}\n`),
      signal: abort.signal,
    });
    await output.out(json ? reportJson(report) : `\n${reportText(report)}`);
    if (options.keep) output.err(inspectionHelp(report, options));
    return report.ok ? 0 : 1;
  } catch (error) {
    if (abort.signal.aborted) return 130;
    output.err(`flanneld lab: ${errorMessage(error)}\n`);
    return 1;
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
  }
}

function inspectionHelp({ lab }: LabReport, { kube }: LabOptions): string {
  const directory = join(tmpdir(), lab);
  const kubectl = kube === undefined ? "" : `
  ip netns exec ${lab}-etcd kubectl --kubeconfig ${directory}/control-plane/kubeconfig get nodes`;
  return `
The lab is still running. To inspect it:
  ip -n ${lab}-h1 route                     routes of the first host
  bridge -n ${lab}-h1 fdb show              forwarding entries of that host
  ip netns exec ${lab}-h1 bash              a shell on that host
  ip netns exec ${lab}-w1 ping ADDRESS      a ping from the workload on that host
  less ${directory}/h1/flanneld.log          the log of its daemon${kubectl}
To remove it:
  flanneld lab down ${lab}
`;
}
