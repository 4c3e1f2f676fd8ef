/** Starts programs that keep running, with their output in a file. */

import { closeSync, openSync } from "node:fs";
import { ProcessError } from "./process.ts";
import { findProgram, packageOf } from "./programs.ts";

export interface SpawnDaemonOptions {
  /** Receives standard output and standard error, appended. */
  readonly logFile: string;
  /** The whole environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
}

export interface DaemonProcess {
  readonly pid: number;
  /** Exit code, or 128 + the signal's number as a shell reports it. */
  readonly exited: Promise<number>;
  signal(signal: NodeJS.Signals): void;
}

/**
 * Starts a program in a session of its own, so that neither a terminal's Ctrl-C nor the end of this
 * process reaches it. Throws `ProcessError` when the program cannot be started.
 */
export function spawnDaemon(
  program: string,
  args: readonly string[],
  options: SpawnDaemonOptions,
): DaemonProcess {
  const path = findProgram(program);
  if (path === undefined) {
    const name = packageOf(program);
    const hint = name === undefined ? "" : ` (Debian package ${name})`;
    throw new ProcessError(program, "not found", `there is no such program${hint}`);
  }
  const log = openSync(options.logFile, "a", 0o600);
  try {
    const child = Bun.spawn([path, ...args], {
      argv0: program,
      stdin: "ignore",
      stdout: log,
      stderr: log,
      env: { ...options.env },
      detached: true,
      ...(options.workingDirectory === undefined ? {} : { cwd: options.workingDirectory }),
    });
    child.unref();
    return {
      pid: child.pid,
      exited: child.exited,
      signal: (signal) => child.kill(signal),
    };
  } finally {
    closeSync(log);
  }
}
