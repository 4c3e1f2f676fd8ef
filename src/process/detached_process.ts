/** Programs that keep running in the background, also after this process has ended. */

import { closeSync, openSync } from "node:fs";
import { errorMessage } from "../base/operator_error.ts";
import { LineSplitter } from "./line_splitter.ts";
import { ProcessError } from "./process_error.ts";
import { requireProgram } from "./program_lookup.ts";

/** Where standard output and standard error go. */
type Output =
  /** Appended to a file. */
  | { readonly logFile: string }
  /**
   * Called for each line, without its newline. Later output is lost (EPIPE) once this process ends.
   */
  | { readonly onLine: (line: string) => void };

export type DetachedOptions = Output & {
  /** The whole environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
};

export interface DetachedProcess {
  readonly pid: number;
  /** Exit code, or 128 + the signal's number, as in a shell; all lines have been read by then. */
  readonly exited: Promise<number>;
  signal(signal: NodeJS.Signals): void;
}

/**
 * Starts a program in a session of its own: neither Ctrl-C in a terminal nor the end of this
 * process reaches it. Throws `ProcessError` if it cannot be started.
 */
export function startDetached(
  program: string,
  args: readonly string[],
  options: DetachedOptions,
): DetachedProcess {
  const command = [requireProgram(program), ...args];
  if ("onLine" in options) {
    const child = spawn(program, command, "pipe", options);
    const read = [child.stdout, child.stderr].map((stream) => readLines(stream, options.onLine));
    return detached(child, Promise.all([child.exited, ...read]).then(([code]) => code));
  }
  const log = openSync(options.logFile, "a", 0o600);
  try {
    const child = spawn(program, command, log, options);
    return detached(child, child.exited);
  } finally {
    closeSync(log);
  }
}

function spawn<Out extends "pipe" | number>(
  program: string,
  command: string[],
  output: Out,
  { env, workingDirectory }: DetachedOptions,
): Bun.Subprocess<"ignore", Out, Out> {
  try {
    return Bun.spawn(command, {
      argv0: program,
      stdin: "ignore",
      stdout: output,
      stderr: output,
      env: { ...env },
      detached: true,
      ...(workingDirectory === undefined ? {} : { cwd: workingDirectory }),
    });
  } catch (cause) {
    throw new ProcessError(program, "cannot start", errorMessage(cause), { cause });
  }
}

function detached(
  child: { readonly pid: number; unref(): void; kill(signal: NodeJS.Signals): void },
  exited: Promise<number>,
): DetachedProcess {
  child.unref();
  return { pid: child.pid, exited, signal: (signal) => child.kill(signal) };
}

async function readLines(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
): Promise<void> {
  using lines = new LineSplitter(onLine);
  for await (const bytes of stream) lines.push(bytes);
}
