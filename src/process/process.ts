/**
 * The only place that starts programs. Each has a time limit and an output limit, runs in a process
 * group of its own, and is killed with everything it started.
 */

import { OperatorError } from "../base/operator_error.ts";
import { findProgram, packageOf, programEnvironment } from "./programs.ts";

export interface RunOptions {
  readonly stdin?: string | Uint8Array;
  /** Default 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** The whole environment; by default `programEnvironment()`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Limit for standard output and for standard error; default 16 MiB each. */
  readonly maxOutputBytes?: number;
  /** Called with each line of either stream as it comes, without its end; also when the run fails. */
  readonly onLine?: (line: string) => void;
}

export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type ProcessFault = "not found" | "cannot start" | "timeout" | "killed" | "output too large";

/** A program that did not come to its own end. */
export class ProcessError extends OperatorError {
  override readonly name = "ProcessError";
  readonly program: string;
  readonly fault: ProcessFault;

  constructor(program: string, fault: ProcessFault, detail: string, options?: ErrorOptions) {
    super(`cannot run ${program}: ${detail}`, options);
    this.program = program;
    this.fault = fault;
  }
}

let starts = 0;

/** How many programs this process has started. */
export function processStarts(): number {
  return starts;
}

/**
 * Runs a program to its end, whatever its exit status is. Throws `ProcessError`, or the signal's
 * reason when aborted.
 */
export async function run(
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
  const timer = setTimeout(() => {
    fault = new ProcessError(program, "timeout", `it did not end within ${timeoutMs} ms`);
    kill();
  }, timeoutMs);
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
    const stdout = collect(child.stdout, { maxBytes: maxOutputBytes, overflow, onLine });
    const stderr = collect(child.stderr, { maxBytes: maxOutputBytes, overflow, onLine });
    const exitCode = await child.exited;
    // What the program left behind may hold the pipes open for ever.
    setTimeout(() => (stdout.stop(), stderr.stop()), DRAIN_MS).unref();
    const result = { exitCode, stdout: await stdout.text, stderr: await stderr.text };
    signal?.throwIfAborted();
    if (fault !== undefined) throw fault;
    if (child.signalCode !== null) {
      throw new ProcessError(program, "killed", `it was killed by ${child.signalCode}`);
    }
    return result;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", kill);
  }
}

/** How long output is still read after the program's end when something else holds the pipe. */
const DRAIN_MS = 500;

function start(
  program: string,
  args: readonly string[],
  options: RunOptions,
): Bun.Subprocess<"ignore" | Uint8Array, "pipe", "pipe"> {
  const path = findProgram(program);
  if (path === undefined) {
    const packageName = packageOf(program);
    const hint = packageName === undefined ? "" : ` (Debian package ${packageName})`;
    throw new ProcessError(program, "not found", `there is no such program${hint}`);
  }
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
    throw new ProcessError(program, "cannot start", (cause as Error).message, { cause });
  }
}

/** Whether there was somebody to get the signal; a negative number is that of a group. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as { code?: string }).code !== "ESRCH") throw error;
    return false;
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

/** Cuts bytes into lines as they come; disposing gives out a last line that has no end. */
export class LineSplitter implements Disposable {
  readonly #decoder = new TextDecoder();
  readonly #onLine: (line: string) => void;
  #rest = "";

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(bytes: Uint8Array): void {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop() as string;
    for (const line of lines) this.#onLine(line);
  }

  [Symbol.dispose](): void {
    const rest = this.#rest + this.#decoder.decode();
    if (rest !== "") this.#onLine(rest);
  }
}
