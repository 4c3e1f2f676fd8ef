/** Ends what a run of this program left behind when it was killed in the middle of its work. */

import { readdirSync, readFileSync } from "node:fs";
import { signalProcess } from "./process.ts";

/**
 * Kills every process whose environment (proc_pid_environ(5)) sets `name` to one of `values`, however
 * it got into its group or session. Returns how many there were; they are gone then.
 */
export function killMarked(name: string, values: ReadonlySet<string>): number {
  const killed = new Set<number>();
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    // What starts others may have done so after they were listed: until there are none.
    const found = [...markedProcesses(name, values)];
    if (found.length === 0) break;
    for (const pid of found) if (signalProcess(pid, "SIGKILL")) killed.add(pid);
  }
  return killed.size;
}

/** A process that does not die, as one that waits for a disk, must not hold up the daemon. */
const MAX_PASSES = 50;

function* markedProcesses(name: string, values: ReadonlySet<string>): Iterable<number> {
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const value = environmentOf(pid).get(name);
    if (value !== undefined && values.has(value)) yield pid;
  }
}

/** Empty for one that has ended, and for the kernel's threads. */
function environmentOf(pid: number): Map<string, string> {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch {
    return new Map();
  }
  return new Map(
    text.split("\0").map((entry): [string, string] => {
      const equals = entry.indexOf("=");
      return [entry.slice(0, equals), entry.slice(equals + 1)];
    }),
  );
}
