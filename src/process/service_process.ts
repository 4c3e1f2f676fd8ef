/** Starts programs that keep running, also when this process ends, with their output given to it. */

import { LineSplitter, ProcessError } from "./process.ts";

export interface ServiceOptions {
  /** The whole environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** Called with each line of standard output and standard error, without its end. */
  readonly onLine: (line: string) => void;
}

export interface ServiceProcess {
  readonly pid: number;
  /** Exit code, or 128 + the signal's number as a shell reports it; its output has been read then. */
  readonly exited: Promise<number>;
  /** Sends SIGKILL. */
  kill(): void;
}

/**
 * Starts the program at this path in a session of its own: neither a terminal's Ctrl-C nor the end of
 * this process reaches it. What it writes when nobody reads any more is lost (EPIPE). Throws
 * `ProcessError` when the program cannot be started.
 */
export function startService(path: string, options: ServiceOptions): ServiceProcess {
  try {
    const child = Bun.spawn([path], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: { ...options.env },
      detached: true,
    });
    child.unref();
    const read = [child.stdout, child.stderr].map((stream) => readLines(stream, options.onLine));
    return {
      pid: child.pid,
      exited: Promise.all([child.exited, ...read]).then(([code]) => code),
      kill: () => child.kill("SIGKILL"),
    };
  } catch (cause) {
    throw new ProcessError(path, "cannot start", (cause as Error).message, { cause });
  }
}

async function readLines(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
): Promise<void> {
  using lines = new LineSplitter(onLine);
  for await (const bytes of stream) lines.push(bytes);
}
