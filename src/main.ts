/** The entry point: reads the command line, does what it says, ends with a status. */

import { assertNever } from "./base/assert_never.ts";
import { parseCommandLine } from "./cli/command_line.ts";
import type { Subcommand } from "./cli/subcommands.ts";
import { daemonHelp } from "./cli/daemon_help.ts";
import type { DaemonOptions } from "./cli/daemon_options.ts";
import { versionText } from "./cli/version.ts";
import { RepeatedFailure } from "./log/repeated_failure.ts";
import { createLogger } from "./log/logger.ts";
import { limitProblem, memoryWarning } from "./process/resource_limits.ts";
import { OperatorError } from "./base/operator_error.ts";
import { systemClock } from "./base/clock.ts";
import { printableLine } from "./base/quoting.ts";

/** A stop that takes longer is cut off; the data plane stays in place either way. */
const STOP_MS = 4000;

main().then((status) => process.exit(status));

/** Returns the exit status. What is not needed for `--help` is loaded only when it is. */
async function main(): Promise<number> {
  const command = parseCommandLine(process.argv.slice(2), process.env);
  switch (command.kind) {
    case "help":
      process.stdout.write(daemonHelp());
      return 0;
    case "version":
      process.stdout.write(`${versionText()}\n`);
      return 0;
    case "error":
      process.stderr.write(`flanneld: ${printableLine(command.message)}\n`);
      return command.exitCode;
    case "subcommand":
      return await runSubcommand(command.name, command.args);
    case "run":
      return await run(command.options, command.warnings);
  }
}

async function runSubcommand(name: Subcommand, args: readonly string[]): Promise<number> {
  const problem = name === "licenses" ? undefined : limitProblem();
  if (problem !== undefined) {
    process.stderr.write(`flanneld ${name}: ${problem}\n`);
    return 1;
  }
  switch (name) {
    case "lab": {
      const { labCommand } = await import("./cli/lab_command.ts");
      return await labCommand(args, selfCommand(), {
        out: printAll,
        err: (text) => process.stderr.write(text),
      });
    }
    case "datastore": {
      const { datastoreCommand } = await import("./cli/datastore_command.ts");
      return await datastoreCommand(args, {
        input: () => Bun.stdin.text(),
        out: printAll,
        err: (text) => process.stderr.write(text),
      });
    }
    case "licenses": {
      const { licensesText } = await import("./cli/licenses.ts");
      await printAll(await licensesText());
      return 0;
    }
    default:
      return assertNever(name);
  }
}

/**
 * Resolves when all of it is out: a pipe with a slow reader takes 64 KiB, and the exit cuts the rest.
 * Ends the program when that cannot be: as SIGPIPE would for a reader that has gone, else with a line.
 */
async function printAll(text: string): Promise<void> {
  try {
    await Bun.write(Bun.stdout, text);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EPIPE") process.exit(141);
    process.stderr.write(`flanneld: cannot write the output: ${message}\n`);
    process.exit(1);
  }
}

/** What starts this program again: the executable, or Bun and this file. */
function selfCommand(): readonly string[] {
  const isCompiled = Bun.main.startsWith("/$bunfs/");
  return isCompiled ? [process.execPath] : [process.execPath, Bun.main];
}

async function run(options: DaemonOptions, warnings: readonly string[]): Promise<number> {
  const log = createLogger({ format: options.logFormat, verbosity: options.verbosity });
  for (const warning of warnings) log.warn(warning);
  const problem = limitProblem();
  if (problem !== undefined) {
    log.error(problem);
    return 1;
  }
  const memory = memoryWarning();
  if (memory !== undefined) log.warn(memory);
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => {
    log.info(`${name} received; stopping, devices and routes and rules stay in place`);
    stop.abort(new Error(`stopped by ${name}`));
    setTimeout(() => {
      log.warn(`not everything has ended within ${STOP_MS} ms; exiting all the same`);
      process.exit(0);
    }, STOP_MS).unref();
  };
  const stray = new RepeatedFailure({
    log,
    clock: systemClock,
    what: "reading what an HTTP/2 server sent unasked",
  });
  process.on("uncaughtException", (error) => {
    if (isStrayHttp2Error(error)) return stray.failed(error);
    log.fatal({ err: error }, FAULT);
    process.exit(1);
  });
  process.once("SIGTERM", onSignal);
  process.once("SIGINT", onSignal);
  try {
    const { runDaemon } = await import("./daemon.ts");
    return await runDaemon({ options, log, stop: stop.signal });
  } catch (error) {
    if (error instanceof OperatorError) log.error(error.message);
    else log.fatal({ err: error }, FAULT);
    return 1;
  }
}

const FAULT = "flanneld fails; this is a fault of the program";

/**
 * The runtime creates a stream for what an HTTP/2 server sends unasked, and the stream's errors cannot be
 * caught. Our own streams and sessions have listeners, so that no other errors arrive here.
 */
function isStrayHttp2Error(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "string" && code.startsWith("ERR_HTTP2_");
}
