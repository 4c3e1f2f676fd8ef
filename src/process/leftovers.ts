/** Ends what a run of this program left behind when it was killed in the middle of its work. */

import { readdirSync, readFileSync } from "node:fs";
import { signalProcess } from "./process.ts";

/**
 * Kills every process whose environment (proc_pid_environ(5)) sets `name` to one of `values`, however
 * it got into its group or session. Returns how many there were.
 */
export function killMarked(name: string, values: ReadonlySet<string>): number {
  let count = 0;
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const value = environmentOf(pid).get(name);
    if (value === undefined || !values.has(value)) continue;
    if (signalProcess(pid, "SIGKILL")) count++;
  }
  return count;
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
