/** The entry point: reads the command line, runs the command, exits with its status. */

import { assertNever } from "./base/assert_never.ts";
import { parseCommandLine } from "./cli/command_line.ts";
import type { Subcommand } from "./cli/subcommands.ts";
import { daemonHelp } from "./cli/daemon_help.ts";
import type { DaemonOptions } from "./cli/daemon_options.ts";
import { versionText } from "./cli/version.ts";
import { RepeatedFailure } from "./log/repeated_failure.ts";
import type { Log } from "./log/log.ts";
import { createLogger } from "./log/logger.ts";
import { limitProblem, memoryWarning } from "./process/resource_limits.ts";
import { OperatorError } from "./base/operator_error.ts";
import { systemClock } from "./base/clock.ts";
import { printableLine } from "./base/quoting.ts";

/** A stop may take this long; the data plane stays in place either way. */
const STOP_MS = 4000;

main().then((status) => process.exit(status));

/** Returns the exit status. Loads the code of a command when it runs. */
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
      return await runDaemonCommand(command.options, command.warnings);
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
 * Resolves when all of the text is written: a pipe with a slow reader takes 64 KiB, and an exit
 * would lose the rest. Exits if it cannot be written: like SIGPIPE if the reader has ended,
 * otherwise with an error.
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

/** The command that starts this program: the executable, or Bun and this file. */
function selfCommand(): readonly string[] {
  const isCompiled = Bun.main.startsWith("/$bunfs/");
  return isCompiled ? [process.execPath] : [process.execPath, Bun.main];
}

async function runDaemonCommand(
  options: DaemonOptions,
  warnings: readonly string[],
): Promise<number> {
  const log = createLogger({ format: options.logFormat, verbosity: options.verbosity });
  const stop = stopOnSignals(log);
  reportUncaughtErrors(log);
  for (const warning of warnings) log.warn(warning);
  const problem = limitProblem();
  if (problem !== undefined) {
    log.error(problem);
    return 1;
  }
  const memory = memoryWarning();
  if (memory !== undefined) log.warn(memory);
  try {
    const [{ runDaemon }, { systemPorts: ports }] = await Promise.all([
      import("./daemon/daemon.ts"),
      import("./daemon/system_ports.ts"),
    ]);
    return await runDaemon({ options, ports, log, stop });
  } catch (error) {
    if (error instanceof OperatorError) log.error(error.message);
    else log.fatal({ err: error }, BUG);
    return 1;
  }
}

/** Aborts at SIGTERM or SIGINT. */
function stopOnSignals(log: Log): AbortSignal {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => {
    log.info(`received ${name}; stopping (devices, routes and rules stay in place)`);
    stop.abort(new Error(`stopped by ${name}`));
    systemClock.setTimer(STOP_MS, () => {
      log.warn(`not all parts ended within ${STOP_MS} ms; exiting`);
      process.exit(0);
    });
  };
  process.once("SIGTERM", onSignal);
  process.once("SIGINT", onSignal);
  return stop.signal;
}

function reportUncaughtErrors(log: Log): void {
  const what = "handling what an HTTP/2 server sent unrequested";
  const stray = new RepeatedFailure({ log, clock: systemClock, what });
  process.on("uncaughtException", (error) => {
    if (isStrayHttp2Error(error)) return stray.failed(error);
    log.fatal({ err: error }, BUG);
    process.exit(1);
  });
}

const BUG = "flanneld failed; this is a bug in flanneld";

/**
 * The runtime creates a stream for what an HTTP/2 server sends unrequested, and its errors cannot
 * be caught. Our own streams and sessions have listeners, so their errors do not arrive here.
 */
function isStrayHttp2Error(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "string" && code.startsWith("ERR_HTTP2_");
}
