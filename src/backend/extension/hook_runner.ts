/** Runs one command of the configuration in a shell, with limits, and logs its output. */

import type { Clock } from "../../base/clock.ts";
import { OperatorError } from "../../base/operator_error.ts";
import type { Log } from "../../log/log.ts";
import { killOrphans } from "../../process/orphan_processes.ts";
import { type OutputStream, runProgram } from "../../process/run_program.ts";
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
  /** The subnet that it runs for, for messages; empty for the node itself. */
  readonly subject: string;
  /** For `sh -c`. */
  readonly command: string;
  readonly input: HookInput;
  readonly timeoutMs: number;
  /** Unique to this call: identifies its processes. */
  readonly mark: string;
  readonly signal: AbortSignal;
}

/** In the environment of every command, and so of all its child processes. */
export const MARK_VARIABLE = "FLANNEL_HOOK";

export type HookFailure =
  | { readonly kind: "exit status"; readonly status: number }
  /** It was killed, or could not be started. */
  | { readonly kind: "fault"; readonly error: ProcessError };

/**
 * A command that failed or exceeded a limit. The message ends with the last line that it printed,
 * on standard error if it printed any there.
 */
export class HookError extends OperatorError {
  override readonly name = "HookError";
  readonly command: HookName;
  /** The subnet; empty for the node itself. */
  readonly subject: string;
  readonly failure: HookFailure;

  constructor(
    call: Pick<HookCall, "name" | "subject" | "timeoutMs">,
    failure: HookFailure,
    { lastLine, ...options }: ErrorOptions & { readonly lastLine: string },
  ) {
    const end = lastLine === "" ? "" : `: ${lastLine}`;
    super(`${titleOf(call)} ${failureText(failure, call.timeoutMs)}${end}`, options);
    this.command = call.name;
    this.subject = call.subject;
    this.failure = failure;
  }
}

export class HookRunner {
  readonly #log: Log;
  readonly #env: Readonly<Record<string, string>>;
  readonly #clock: Clock;

  constructor(
    { log, env, clock }: { log: Log; env: Readonly<Record<string, string>>; clock: Clock },
  ) {
    this.#log = log;
    this.#env = env;
    this.#clock = clock;
  }

  /**
   * Returns what the command printed on standard output. Both output streams are logged line by
   * line as they arrive. Throws `HookError`, or the signal's reason; all processes of a command
   * that was interrupted have been killed by then.
   */
  async run(call: HookCall): Promise<string> {
    const title = titleOf(call);
    const lines = new LoggedLines(this.#log, title);
    const startMs = this.#clock.nowMs();
    using _slow = this.#clock.setTimer(SLOW_MS, () => this.#log.info(slowText(call)));
    try {
      const { exitCode, stdout } = await runProgram("sh", ["-c", call.command], {
        stdin: call.input.stdin,
        env: { ...this.#env, ...call.input.variables, [MARK_VARIABLE]: call.mark },
        timeoutMs: call.timeoutMs,
        signal: call.signal,
        maxOutputBytes: MAX_OUTPUT_BYTES,
        onLine: (line, stream) => lines.add(line, stream),
      });
      if (exitCode !== 0) {
        const failure = { kind: "exit status", status: exitCode } as const;
        throw new HookError(call, failure, { lastLine: lines.last });
      }
      this.#log.info(`${title}: done in ${Math.round(this.#clock.nowMs() - startMs)} ms`);
      return stdout;
    } catch (error) {
      if (error instanceof HookError) throw error;
      // Its process group was killed; its processes in other sessions have the mark as well.
      await killOrphans(MARK_VARIABLE, new Set([call.mark]));
      if (!(error instanceof ProcessError)) throw error;
      const failure = { kind: "fault", error } as const;
      throw new HookError(call, failure, { lastLine: lines.last, cause: error });
    } finally {
      lines.finish();
    }
  }
}

/** After this time the log and `/readyz` say that the command is still running. */
const SLOW_MS = 2000;
const MAX_OUTPUT_BYTES = 1024 * 1024;
/** So that a command that prints a lot does not bury the rest of the log. */
const MAX_LINES = 100;
const MAX_LINE_LENGTH = 1000;

function titleOf({ name, subject }: Pick<HookCall, "name" | "subject">): string {
  return subject === "" ? name : `${name} for ${subject}`;
}

function failureText(failure: HookFailure, timeoutMs: number): string {
  if (failure.kind === "exit status") return `ended with status ${failure.status}`;
  switch (failure.error.fault) {
    case "timeout":
      return `failed: it did not exit within ${timeoutMs / 1000} s and was killed`;
    case "output too large":
      return `failed: it printed more than ${MAX_OUTPUT_BYTES} bytes and was killed`;
    default:
      return `failed: ${failure.error.message}`;
  }
}

function slowText(call: HookCall): string {
  return `${titleOf(call)} is still running after ${SLOW_MS / 1000} s; ` +
    `its limit is ${call.timeoutMs / 1000} s`;
}

class LoggedLines {
  readonly #log: Log;
  readonly #title: string;
  #count = 0;
  readonly #last: Record<OutputStream, string> = { stdout: "", stderr: "" };

  constructor(log: Log, title: string) {
    this.#log = log;
    this.#title = title;
  }

  add(line: string, stream: OutputStream): void {
    if (line.trim() === "") return;
    const text = this.#last[stream] = line.slice(0, MAX_LINE_LENGTH);
    if (this.#count++ < MAX_LINES) this.#log.info(`${this.#title}: ${text}`);
  }

  finish(): void {
    const more = this.#count - MAX_LINES;
    if (more > 0) this.#log.info(`${this.#title}: and ${more} more lines`);
  }

  /** The last line of standard error so far, else that of standard output; empty without either. */
  get last(): string {
    return this.#last.stderr || this.#last.stdout;
  }
}
