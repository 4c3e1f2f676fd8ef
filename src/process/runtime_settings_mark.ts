/** The mark of a process that has executed itself again. Small: every command loads it. */

import { writeFileSync } from "node:fs";

/** A variable: the process's pid, the names of the variables that were added, its own name. */
export const RUNTIME_SETTINGS_MARK = "FLANNELD_RUNTIME_SETTINGS";

/**
 * To be called first: removes from the environment what was added for the runtime, so that no
 * program that this one starts inherits it, and gives the process its name back.
 */
export function removeRuntimeSettings(
  env: { [name: string]: string | undefined },
  pid: number = process.pid,
): void {
  const mark = env[RUNTIME_SETTINGS_MARK];
  if (mark === undefined) return;
  delete env[RUNTIME_SETTINGS_MARK];
  const [, owner, added = "", name = ""] = /^(\d+)\/([\w,]*)\/(.*)$/s.exec(mark) ?? [];
  if (owner !== String(pid)) return; // inherited
  for (const variable of added.split(",")) {
    delete env[variable];
  }
  try {
    writeFileSync("/proc/self/comm", name);
  } catch {
    // The name stays that of /proc/self/exe.
  }
}
