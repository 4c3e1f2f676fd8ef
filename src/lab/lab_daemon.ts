/** The daemon of a host of a lab. */

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import type { DetachedProcess } from "../process/detached_process.ts";
import { parseSubnetFile, type SubnetFile } from "../subnet/subnet_file.ts";
import { type DaemonSetup, hostDirectory } from "./lab_cluster.ts";
import { logEnd } from "./log_end.ts";
import { spawnInNamespace } from "./namespace.ts";
import { poll } from "./poll.ts";
import type { LabHost } from "./topology.ts";
import type { TopologyRecord } from "./topology_record.ts";

export interface StartedDaemon {
  readonly host: LabHost;
  readonly process: DetachedProcess;
  readonly subnetFile: string;
  readonly logFile: string;
  readonly startedMs: number;
}

/** A daemon starts within a second; one with charon, in a virtual machine, within a minute. */
const READY_TIMEOUT_MS = 180_000;

export function startDaemon(
  record: TopologyRecord,
  host: LabHost,
  { command, setup, clock }: {
    /** The command that starts it, without its flags. */
    readonly command: readonly string[];
    readonly setup: DaemonSetup;
    readonly clock: Clock;
  },
): StartedDaemon {
  const directory = hostDirectory(record, host);
  const runDirectory = join(directory, "run");
  mkdirSync(runDirectory, { recursive: true, mode: 0o700 });
  const logFile = join(directory, "flanneld.log");
  const startedMs = clock.nowMs();
  const process = spawnInNamespace(host.namespace, {
    runDirectory,
    logFile,
    command: [...command, ...setup.flags],
    env: setup.env ?? {},
  });
  record.addProcess(process.pid);
  return { host, process, subnetFile: setup.subnetFile, logFile, startedMs };
}

/** Throws with the end of the daemon's log if the daemon exits or is too slow. */
export async function waitForSubnetFile(
  { process, subnetFile, logFile, startedMs, host }: StartedDaemon,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<{ network: SubnetFile; readyMs: number }> {
  let exitCode: number | undefined;
  void process.exited.then((code) => exitCode = code);
  const fault = (what: string) =>
    new Error(`the daemon of ${host.name} ${what}; end of its log:\n${logEnd(logFile)}`);
  const timeoutMs = startedMs + READY_TIMEOUT_MS - clock.nowMs();
  // The file is renamed into place: it is complete as soon as it exists.
  const isDone = () => exitCode !== undefined || existsSync(subnetFile);
  await poll(isDone, { clock, intervalMs: 5, timeoutMs, signal });
  if (!existsSync(subnetFile)) {
    throw fault(
      exitCode === undefined
        ? `has no subnet after ${READY_TIMEOUT_MS / 1000} s`
        : `exited with status ${exitCode}`,
    );
  }
  const readyMs = Math.round(clock.nowMs() - startedMs);
  return { network: parseSubnetFile(readFileSync(subnetFile, "utf8")), readyMs };
}
