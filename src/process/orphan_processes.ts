/** Processes of an earlier run that was killed, recognized by a variable in their environment. */

import { pause, systemClock } from "../base/clock.ts";
import { environmentOf, runningProcesses } from "./proc_files.ts";
import { signalProcess } from "./signal_process.ts";

/**
 * Kills every process whose environment sets `name` to one of `values`, in any process group and
 * session. Resolves with their number once they are gone.
 */
export async function killOrphans(name: string, values: ReadonlySet<string>): Promise<number> {
  const killed = new Set<number>();
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    const { marked, hasStarting } = markedProcesses(name, values);
    if (marked.length === 0 && !hasStarting) break;
    const before = killed.size;
    for (const pid of marked) if (signalProcess(pid, "SIGKILL")) killed.add(pid);
    // A process may have started others since the listing: repeat at once until there are no new
    // ones.
    if (killed.size === before) await pause(systemClock, WAIT_MS);
  }
  return killed.size;
}

/** A process that cannot die, for example because it waits for a disk, may not block the daemon. */
const MAX_PASSES = 100;
/** For the kernel to run the processes that are being killed or started, in real time. */
const WAIT_MS = 5;

export interface MarkedProcesses {
  readonly marked: readonly number[];
  /** Some processes are just being started: it is not known yet whether they have the mark. */
  readonly hasStarting: boolean;
}

/** The other processes whose environment sets `name` to one of `values`. */
export function markedProcesses(name: string, values: ReadonlySet<string>): MarkedProcesses {
  const marked: number[] = [];
  let hasStarting = false;
  for (const pid of runningProcesses()) {
    if (pid === process.pid) continue;
    const environment = environmentOf(pid);
    hasStarting ||= environment === undefined;
    const value = environment?.get(name);
    if (value !== undefined && values.has(value)) marked.push(pid);
  }
  return { marked, hasStarting };
}
