/** Processes in this PID namespace, as proc(5) shows them. */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** The numbers of all processes, in order. */
export function runningProcesses(): number[] {
  return readdirSync("/proc").map(Number).filter((pid) => Number.isInteger(pid));
}

/**
 * The fields of proc_pid_stat(5) from the third (state) on, so that index 0 is field 3; `undefined`
 * when there is no such process. The name in field 2 may hold spaces and parentheses.
 */
export function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

/**
 * The namespace of a process, such as `net:[4026531840]` (namespaces(7)); `undefined` if there is
 * no such process, or without permission.
 */
export function namespaceOf(
  pid: number | "self" | "thread-self",
  kind: "net" | "pid",
): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/${kind}`);
  } catch {
    return undefined;
  }
}

/**
 * The name of a process's command (proc_pid_comm(5)), with `?` for unprintable characters, because
 * any process may choose its name; `undefined` if it has ended.
 */
export function commandOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim().replace(/[^ -~]/g, "?");
  } catch {
    return undefined;
  }
}

/**
 * The environment with which a process was started (proc_pid_environ(5)). Empty for one that has
 * ended, and for kernel threads; `undefined` while execve(2) is still building it.
 */
export function environmentOf(pid: number): ReadonlyMap<string, string> | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch {
    return new Map();
  }
  if (text === "" && isStarting(pid)) return undefined;
  const entries = text.split("\0").filter((entry) => entry.includes("="));
  return new Map(entries.map((entry) => {
    const equals = entry.indexOf("=");
    return [entry.slice(0, equals), entry.slice(equals + 1)];
  }));
}

/** Whether a process has memory, but its environment has no address in it yet. */
function isStarting(pid: number): boolean {
  const fields = statFields(pid);
  return fields !== undefined && fields[VSIZE] !== "0" && fields[ENV_START] === "0";
}

/** Fields 23 and 50. */
const VSIZE = 20;
const ENV_START = 47;
