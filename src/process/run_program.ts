/**
 * Runs a program to its end, with a time limit and an output limit. The program leads a process
 * group of its own, which is killed as a whole.
 */

import { systemClock } from "../base/clock.ts";
import { errorMessage } from "../base/operator_error.ts";
import { LineSplitter } from "./line_splitter.ts";
import { ProcessError } from "./process_error.ts";
import { programEnvironment, requireProgram } from "./program_lookup.ts";
import { signalProcess } from "./signal_process.ts";

export interface RunOptions {
  readonly stdin?: string | Uint8Array;
  /** Default 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** The whole environment; by default `programEnvironment()`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Limit of standard output, and of standard error; 16 MiB each by default. */
  readonly maxOutputBytes?: number;
  /** Called for each line of either stream as it arrives, without its newline. */
  readonly onLine?: (line: string, stream: OutputStream) => void;
}

/** The lines of one arrive in order; a line of the other may overtake them. */
export type OutputStream = "stdout" | "stderr";

export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

let starts = 0;

/** How many programs `runProgram` has started. */
export function processStarts(): number {
  return starts;
}

/**
 * Returns the output and the exit status, which may be any. Throws `ProcessError` if the program
 * did not exit by itself, and the reason of `signal` when that aborts.
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const { timeoutMs = 30_000, signal, maxOutputBytes = 16 * 1024 * 1024, onLine } = options;
  signal?.throwIfAborted();
  const child = start(program, args, options);
  // `detached` made the child the leader of its group.
  const kill = () => void signalProcess(-child.pid, "SIGKILL");
  let fault: ProcessError | undefined;
  // The system's clock: the program itself runs in real time.
  using _timeout = systemClock.setTimer(timeoutMs, () => {
    fault = new ProcessError(program, "timeout", `it did not exit within ${timeoutMs} ms`);
    kill();
  });
  signal?.addEventListener("abort", kill);
  const overflow = () => {
    fault ??= new ProcessError(
      program,
      "output too large",
      `it wrote more than ${maxOutputBytes} bytes`,
    );
    kill();
  };
  try {
    const read = (stream: OutputStream) =>
      collect(child[stream], {
        maxBytes: maxOutputBytes,
        overflow,
        onLine: onLine && ((line) => onLine(line, stream)),
      });
    const [stdout, stderr] = [read("stdout"), read("stderr")];
    const exitCode = await child.exited;
    // Background processes of the program may hold the pipes open forever.
    using _drain = systemClock.setTimer(DRAIN_MS, () => (stdout.stop(), stderr.stop()));
    const result = { exitCode, stdout: await stdout.text, stderr: await stderr.text };
    signal?.throwIfAborted();
    if (fault !== undefined) throw fault;
    if (child.signalCode !== null) {
      throw new ProcessError(program, "killed", `it was killed by ${child.signalCode}`);
    }
    return result;
  } finally {
    signal?.removeEventListener("abort", kill);
  }
}

/** How long output is read after the program's exit while another process holds the pipes. */
const DRAIN_MS = 500;

function start(
  program: string,
  args: readonly string[],
  options: RunOptions,
): Bun.Subprocess<"ignore" | Uint8Array, "pipe", "pipe"> {
  const path = requireProgram(program);
  starts++;
  const { stdin, env = programEnvironment() } = options;
  try {
    return Bun.spawn([path, ...args], {
      argv0: program,
      stdin: stdin === undefined ? "ignore" : new Uint8Array(Buffer.from(stdin as string)),
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
      env: { ...env },
    });
  } catch (cause) {
    throw new ProcessError(program, "cannot start", errorMessage(cause), { cause });
  }
}

interface CollectOptions {
  readonly maxBytes: number;
  readonly overflow: () => void;
  readonly onLine: ((line: string) => void) | undefined;
}

function collect(
  stream: ReadableStream<Uint8Array>,
  { maxBytes, overflow, onLine }: CollectOptions,
): { text: Promise<string>; stop: () => void } {
  const reader = stream.getReader();
  const chunks: Uint8Array[] = [];
  const read = async () => {
    using lines = onLine && new LineSplitter(onLine);
    let bytes = 0;
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      bytes += next.value.length;
      if (bytes > maxBytes) {
        overflow();
        break;
      }
      chunks.push(next.value);
      lines?.push(next.value);
    }
    return Buffer.concat(chunks).toString("utf8");
  };
  return { text: read(), stop: () => void reader.cancel().catch(() => undefined) };
}
