/** Counts the programs that a process and its descendants start, without slowing them down. */

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { runProgram } from "../../src/process/run_program.ts";

/**
 * An instance of the kernel's event tracing (Documentation/trace/ftrace.rst) that follows one
 * process into its children and notes each execve.
 */
export class ExecTrace implements Disposable {
  readonly #instance: string;

  /** Begins to count for a process that runs. */
  static async start(pid: number, name: string): Promise<ExecTrace> {
    return new ExecTrace(join(await tracingMount(), "instances", name), pid);
  }

  private constructor(instance: string, pid: number) {
    this.#instance = instance;
    mkdirSync(instance);
    // Children are followed by threads, and any thread may start one.
    writeFileSync(join(instance, "set_event_pid"), readdirSync(`/proc/${pid}/task`).join(" "));
    writeFileSync(join(instance, "options/event-fork"), "1");
    writeFileSync(join(instance, "events/sched/sched_process_exec/enable"), "1");
  }

  /** Paths of the programs started so far, in order. */
  programs(): string[] {
    const text = readFileSync(join(this.#instance, "trace"), "utf8");
    return [...text.matchAll(/sched_process_exec: filename=(\S+)/g)].map(([, path]) => path ?? "");
  }

  [Symbol.dispose](): void {
    writeFileSync(join(this.#instance, "events/sched/sched_process_exec/enable"), "0");
    rmdirSync(this.#instance);
  }
}

/** Where the kernel's tracing is mounted; mounts it there, as systemd does, if it is not. */
async function tracingMount(): Promise<string> {
  const mountPoint = "/sys/kernel/tracing";
  const isMounted = () => existsSync(join(mountPoint, "instances"));
  if (!isMounted()) {
    const { stderr } = await runProgram("mount", ["-t", "tracefs", "nodev", mountPoint]);
    // Another program may have been faster.
    if (!isMounted()) throw new Error(`cannot mount the kernel's tracing: ${stderr.trim()}`);
  }
  return mountPoint;
}
