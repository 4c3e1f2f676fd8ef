/** Runs the delegate: another CNI plugin, found in the directories of CNI_PATH. */

import { statSync } from "node:fs";
import { join } from "node:path";
import { type Clock, pause } from "../base/clock.ts";
import { isJsonObject, type JsonObject } from "../base/json_object.ts";
import { printableLine, quoted } from "../base/quoting.ts";
import { ProcessError } from "../process/process_error.ts";
import { runProgram, type RunResult } from "../process/run_program.ts";
import { CNI_CODES, CniError, DelegateError } from "./cni_error.ts";
import { delegateConfigText } from "./delegate_config.ts";
import type { PluginEnvironment } from "./plugin_request.ts";

export interface DelegateRun {
  readonly command: "ADD" | "CHECK" | "DEL" | "STATUS" | "GC";
  /** With `type`, the name of the plugin. */
  readonly config: JsonObject;
  /** Directories of plugins. */
  readonly path: readonly string[];
  /** That of this process, with the variables of the container. */
  readonly environment: PluginEnvironment;
}

export interface DelegatePorts {
  readonly clock: Pick<Clock, "setTimer">;
  /** Standard error, for what the delegate writes there. */
  warn(text: string): void;
}

/** A runtime gives up earlier; with DHCP an address may take half a minute. */
const TIMEOUT_MS = 120_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;

/**
 * Returns what the delegate has printed. Throws `DelegateError` with the delegate's own error, and
 * `CniError` if it could not be run.
 */
export async function runDelegate(run: DelegateRun, ports: DelegatePorts): Promise<string> {
  const type = String(run.config["type"]);
  const program = findPlugin(type, run.path);
  const result = await runWhenWritten(program, run, ports);
  if (result.stderr !== "") ports.warn(result.stderr);
  if (result.exitCode === 0) return result.stdout;
  throw delegateFailure({ type, command: run.command }, result);
}

function findPlugin(type: string, path: readonly string[]): string {
  if (type === "" || type.includes("/")) {
    throw new CniError(CNI_CODES.invalidConfig, `invalid plugin name: ${quoted(type)}`);
  }
  const program = path.map((directory) => join(directory, type))
    .find((candidate) => statSync(candidate, { throwIfNoEntry: false })?.isFile());
  if (program !== undefined) return program.includes("/") ? program : `./${program}`;
  throw new CniError(
    CNI_CODES.internal,
    `failed to find plugin ${quoted(type)} in path [${path.join(" ")}]; install the ` +
      "containernetworking plugins there",
  );
}

const BUSY_RETRIES = 5;
const BUSY_PAUSE_MS = 1_000;

/** A program that is being overwritten (`cp -f`) cannot be started until that is complete. */
async function runWhenWritten(
  program: string,
  { command, config, environment }: DelegateRun,
  { clock }: DelegatePorts,
): Promise<RunResult> {
  for (let attempt = 1;; attempt++) {
    try {
      return await runProgram(program, [], {
        stdin: delegateConfigText(config),
        env: { ...environment, CNI_COMMAND: command },
        timeoutMs: TIMEOUT_MS,
        maxOutputBytes: MAX_OUTPUT_BYTES,
      });
    } catch (error) {
      if (!(error instanceof ProcessError)) throw error;
      if (!isBusy(error) || attempt > BUSY_RETRIES) {
        throw new CniError(CNI_CODES.internal, error.message, { cause: error });
      }
      await pause(clock, BUSY_PAUSE_MS);
    }
  }
}

function isBusy({ cause }: ProcessError): boolean {
  return (cause as NodeJS.ErrnoException | undefined)?.code === "ETXTBSY";
}

/** The delegate's own error, or one that shows what it has printed. */
function delegateFailure(
  { type, command }: { readonly type: string; readonly command: string },
  { stdout, stderr, exitCode }: RunResult,
): DelegateError | CniError {
  const what = `${type} failed at ${command} with status ${exitCode}`;
  if (stdout.trim() === "") {
    const shown = stderr.trim() === "" ? "it printed nothing" : printableLine(stderr.trim());
    return new CniError(CNI_CODES.internal, `${what}: ${shown}`);
  }
  if (isErrorResult(stdout)) return new DelegateError(what, stdout);
  return new CniError(
    CNI_CODES.internal,
    `${what}, and what it printed is not JSON: ${printableLine(stdout.trim())}`,
  );
}

function isErrorResult(text: string): boolean {
  try {
    return isJsonObject(JSON.parse(text));
  } catch {
    return false;
  }
}
