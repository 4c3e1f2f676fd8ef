import { readFileSync } from "node:fs";

/** In MiB (proc_pid_status(5)). */
export interface ProcessMemory {
  readonly resident: number;
  /** The part of the resident memory without a file. */
  readonly anonymous: number;
  /** The resident pages of files, such as the executable. */
  readonly file: number;
  /** The most that was ever resident. */
  readonly peak: number;
}

export function memoryMib(pid: number): ProcessMemory {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1]) / 1024;
  return {
    resident: field("VmRSS"),
    anonymous: field("RssAnon"),
    file: field("RssFile"),
    peak: field("VmHWM"),
  };
}
