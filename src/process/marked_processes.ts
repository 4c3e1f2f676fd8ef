/** Ends what a run of this program left behind when it was killed in the middle of its work. */

import { environmentOf, runningProcesses } from "./proc_files.ts";
import { signalProcess } from "./process.ts";

/**
 * Kills every process whose environment sets `name` to one of `values`, however it got into its group
 * or session. Returns how many there were; they are gone then.
 */
export function killOrphans(name: string, values: ReadonlySet<string>): number {
  const killed = new Set<number>();
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    const { marked, hasStarting } = markedProcesses(name, values);
    if (marked.length === 0 && !hasStarting) break;
    const before = killed.size;
    for (const pid of marked) if (signalProcess(pid, "SIGKILL")) killed.add(pid);
    // What starts others may have done so after they were listed: until there are no new ones.
    if (killed.size === before) Bun.sleepSync(WAIT_MS);
  }
  return killed.size;
}

/** A process that does not die, as one that waits for a disk, must not hold up the daemon. */
const MAX_PASSES = 100;
/** For what is killed, or about to be started, until it is scheduled. */
const WAIT_MS = 5;

export interface MarkedProcesses {
  readonly marked: readonly number[];
  /** Some processes are just being started: whether they have the mark is not known yet. */
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
