/** Runs one command of the configuration: as a shell would, but with limits, and never unheard. */

import type { Log } from "../../log/log.ts";
import { killOrphans } from "../../process/orphan_processes.ts";
import { runProgram } from "../../process/run_program.ts";
import { ProcessError } from "../../process/process_error.ts";
import type { HookInput } from "./hook_input.ts";

export type HookName =
  | "PreStartupCommand"
  | "PostStartupCommand"
  | "SubnetAddCommand"
  | "SubnetRemoveCommand"
  | "ShutdownCommand";

export interface HookCall {
  readonly name: HookName;
  /** What it is run for, in messages: a subnet; empty for the node itself. */
  readonly subject: string;
  /** For `sh -c`. */
  readonly command: string;
  readonly input: HookInput;
  readonly timeoutMs: number;
  /** Unique to this call: by it, its processes are found again. */
  readonly mark: string;
  readonly signal: AbortSignal;
}

/** In the environment of every command, and so of whatever it starts. */
export const MARK_VARIABLE = "FLANNEL_HOOK";

/** It failed, or did not end in time. The message says how, with the last line that it printed. */
export class HookError extends Error {
  override readonly name = "HookError";
}

export class HookRunner {
  readonly #log: Log;
  readonly #env: Readonly<Record<string, string>>;

  constructor({ log, env }: { log: Log; env: Readonly<Record<string, string>> }) {
    this.#log = log;
    this.#env = env;
  }

  /**
   * What the command printed on standard output. What it prints there and on standard error is logged
   * line by line as it comes. Throws `HookError`, or the signal's reason; nothing of a command that did
   * not come to its own end is left then.
   */
  async run(call: HookCall): Promise<string> {
    const title = call.subject === "" ? call.name : `${call.name} for ${call.subject}`;
    const lines = new LoggedLines(this.#log, title);
    const begun = performance.now();
    const slow = setTimeout(() => this.#log.info(slowText(title, call)), SLOW_MS);
    try {
      const { exitCode, stdout } = await runProgram("sh", ["-c", call.command], {
        stdin: call.input.stdin,
        env: { ...this.#env, ...call.input.variables, [MARK_VARIABLE]: call.mark },
        timeoutMs: call.timeoutMs,
        signal: call.signal,
        maxOutputBytes: MAX_OUTPUT_BYTES,
        onLine: (line) => lines.add(line),
      });
      if (exitCode !== 0) throw new HookError(`${title} ended with status ${exitCode}${lines.end}`);
      this.#log.info(`${title}: done in ${Math.round(performance.now() - begun)} ms`);
      return stdout;
    } catch (error) {
      if (error instanceof HookError) throw error;
      // It was killed with its group; what it has put into other sessions has the mark, too.
      await killOrphans(MARK_VARIABLE, new Set([call.mark]));
      if (!(error instanceof ProcessError)) throw error;
      throw new HookError(`${title} failed: ${reasonOf(error, call)}${lines.end}`);
    } finally {
      clearTimeout(slow);
      lines.finish();
    }
  }
}

/** After this time the log and `/readyz` say that the command is still running. */
const SLOW_MS = 2000;
const MAX_OUTPUT_BYTES = 1024 * 1024;
/** A command that prints its whole state must not bury the rest of the log. */
const MAX_LINES = 100;
const MAX_LINE_LENGTH = 1000;

function slowText(title: string, { timeoutMs }: HookCall): string {
  return `${title} is still running after ${SLOW_MS / 1000} s; its limit is ${timeoutMs / 1000} s`;
}

function reasonOf(error: ProcessError, { timeoutMs }: HookCall): string {
  switch (error.fault) {
    case "timeout":
      return `it did not end within ${timeoutMs / 1000} s and was killed`;
    case "output too large":
      return `it printed more than ${MAX_OUTPUT_BYTES} bytes and was killed`;
    default:
      return error.message;
  }
}

class LoggedLines {
  readonly #log: Log;
  readonly #title: string;
  #count = 0;
  #last = "";

  constructor(log: Log, title: string) {
    this.#log = log;
    this.#title = title;
  }

  add(line: string): void {
    if (line.trim() === "") return;
    this.#last = line.slice(0, MAX_LINE_LENGTH);
    if (this.#count++ < MAX_LINES) this.#log.info(`${this.#title}: ${this.#last}`);
  }

  finish(): void {
    const more = this.#count - MAX_LINES;
    if (more > 0) this.#log.info(`${this.#title}: and ${more} more lines`);
  }

  /** To follow a message. */
  get end(): string {
    return this.#last === "" ? "" : `: ${this.#last}`;
  }
}
