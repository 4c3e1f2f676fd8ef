/**
 * Settings of the JavaScript runtime that it reads from the environment when it starts, before any
 * code of ours. A process without them therefore executes itself again, with them: same process,
 * same arguments, same open files (execve(2)). What each setting gains: docs/adr/0017.
 */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { execute } from "../../ffi/execute.ts";
import { errnoName } from "../../ffi/errno.ts";
import { errorMessage } from "../base/operator_error.ts";
import { RUNTIME_SETTINGS_MARK } from "./runtime_settings_mark.ts";

const SETTINGS: Readonly<Record<string, string>> = {
  // The optimizing compiler: its code and its threads' memory cost more than they gain.
  BUN_JSC_useDFGJIT: "0",
  // Threads that wake up to collect garbage and to compile while the main thread is idle.
  BUN_JSC_useConcurrentGC: "0",
  BUN_JSC_useConcurrentJIT: "0",
  // A timer that looks every second whether there is garbage, also when nothing has happened.
  BUN_GC_TIMER_DISABLE: "1",
  // Freed memory is given back at once, without a thread that wakes up for it.
  MIMALLOC_PURGE_DELAY: "0",
  // The C library's default, which it would raise when the first large block is freed: memory in
  // which bun:ffi has compiled would stay (mallopt(3)).
  MALLOC_TRIM_THRESHOLD_: "131072",
};

/**
 * The variables with which a process executes itself again; `undefined` if it has done so already
 * or has all settings. A variable that is set already keeps its value.
 */
export function variablesWithSettings(
  variables: readonly string[],
  { pid, name }: { readonly pid: number; readonly name: string },
): string[] | undefined {
  const mark = `${RUNTIME_SETTINGS_MARK}=`;
  if (variables.some((variable) => variable.startsWith(`${mark}${pid}/`))) return undefined;
  const present = new Set(variables.map((variable) => variable.split("=", 1)[0]));
  const added = Object.keys(SETTINGS).filter((setting) => !present.has(setting));
  if (added.length === 0) return undefined;
  return [
    ...variables.filter((variable) => !variable.startsWith(mark)),
    ...added.map((setting) => `${setting}=${SETTINGS[setting]}`),
    `${mark}${pid}/${added.join(",")}/${name}`,
  ];
}

/**
 * Executes this process again with the settings, unless it has them. If that fails, returns why,
 * and the process continues as it is.
 */
export function startWithRuntimeSettings(): string | undefined {
  try {
    const variables = variablesWithSettings(readList("/proc/self/environ"), {
      pid: process.pid,
      name: readFileSync("/proc/self/comm", "latin1").trimEnd(),
    });
    if (variables === undefined) return undefined;
    const args = readList("/proc/self/cmdline");
    const error = execute("/proc/self/exe", { args, variables, descriptors: inherited() });
    return `execve failed with ${errnoName(error)}`;
  } catch (error) {
    return errorMessage(error);
  }
}

/** Texts that each end with a null byte (proc_pid_environ(5), proc_pid_cmdline(5)). */
function readList(path: string): string[] {
  return readFileSync(path, "latin1").split("\0").slice(0, -1);
}

/**
 * Descriptors that this process was started with: a lock of flock(1) ends when they are closed. The
 * runtime has made them close-on-exec. Its own descriptors are anonymous inodes and /dev/null.
 */
function inherited(): number[] {
  return readdirSync("/proc/self/fd").map(Number).filter((descriptor) => {
    if (descriptor <= 2) return false;
    try {
      const path = readlinkSync(`/proc/self/fd/${descriptor}`);
      return !path.startsWith("anon_inode:") && path !== "/dev/null";
    } catch {
      return false; // that of /proc/self/fd itself
    }
  });
}
