/**
 * The entry point: reads the command line, runs the command, exits with its status.
 *
 * What a command needs is loaded when it runs: pods wait for the CNI plugin, at each start and end.
 */

import { assertNever } from "./base/assert_never.ts";
import { systemClock } from "./base/clock.ts";
import { OperatorError } from "./base/operator_error.ts";
import { printableLine } from "./base/quoting.ts";
import type { CommandLine } from "./cli/command_line.ts";
import { parseInvocation } from "./cli/invocation.ts";
import type { Log } from "./log/log.ts";
import type { RepeatedFailure } from "./log/repeated_failure.ts";
import { removeRuntimeSettings } from "./process/runtime_settings_mark.ts";
import type { OperatorStreams } from "./operator/run_operator.ts";

/** A stop may take this long; the data plane stays in place either way. */
const STOP_MS = 4000;

/** Where commands write: data to `out`, the rest to `err`. */
const OUTPUT = { out: printAll, err: printError };

main().then((status) => process.exit(status));

/** Returns the exit status. */
async function main(): Promise<number> {
  removeRuntimeSettings(process.env);
  const invocation = parseInvocation(process.argv0, process.argv.slice(2));
  if (invocation.program === "cni") return await runPlugin();
  if (invocation.program === "flanneld") {
    const { parseDaemonLine } = await import("./cli/daemon_command.ts");
    const daemon = parseDaemonLine(invocation.args, process.env);
    if (daemon !== undefined) return await runCommand(daemon);
  }
  const [{ parseCommandLine }, { FLANNELD, INSTALL_CONF }] = await Promise.all([
    import("./cli/command_line.ts"),
    import("./cli/commands.ts"),
  ]);
  const program = invocation.program === "flanneld" ? FLANNELD : INSTALL_CONF;
  return await runCommand(parseCommandLine(invocation.args, process.env, program));
}

async function runCommand(command: CommandLine): Promise<number> {
  switch (command.kind) {
    case "daemon":
      return await runDaemonCommand(command);
    case "cni":
      return await runPlugin();
    case "install-cni": {
      const { installCniCommand } = await import("./cli/install_cni_command.ts");
      return await installCniCommand(command.options, selfCommand(), OUTPUT);
    }
    case "install-conf": {
      const { installConf } = await import("./cli/install_conf.ts");
      return await installConf(command, printError);
    }
    case "status": {
      const { statusCommand } = await import("./cli/status_command.ts");
      return await statusCommand(command.options, {
        ...OUTPUT,
        terminal: terminalSize,
        environment: process.env,
        clock: systemClock,
      });
    }
    case "peers": {
      const { peersCommand } = await import("./cli/peers_command.ts");
      return await peersCommand(command.options, OUTPUT);
    }
    case "licenses": {
      const { licensesText } = await import("./cli/licenses.ts");
      return await print(licensesText());
    }
    case "version": {
      if (command.json) {
        const { versionReport } = await import("./cli/version_report.ts");
        return await print(`${JSON.stringify(versionReport(), null, 2)}\n`);
      }
      const { versionText } = await import("./cli/version.ts");
      return await print(`${versionText()}\n`);
    }
    case "help": {
      const { helpText } = await import("./cli/command_help.ts");
      return await print(helpText(command.path));
    }
    case "error":
      printError(`${printableLine(command.message)}\n`);
      return command.exitCode;
    case "leases": {
      const { leasesCommand } = await import("./operator/leases_command.ts");
      return await leasesCommand(command.action, operatorStreams());
    }
    case "config": {
      const { configCommand } = await import("./operator/config_command.ts");
      return await configCommand(command.action, operatorStreams());
    }
    case "lab":
    case "datastore":
      return await runServer(command);
    default:
      return assertNever(command);
  }
}

async function runPlugin(): Promise<number> {
  const { cniCommand } = await import("./cli/cni_command.ts");
  return await cniCommand({ ...OUTPUT, input: () => Bun.stdin.stream() });
}

function operatorStreams(): OperatorStreams {
  return {
    ...OUTPUT,
    input: () => Bun.stdin.text(),
    columns: terminalSize()?.columns,
    environment: process.env,
  };
}

/** A subcommand that needs as much memory as the daemon. */
async function runServer(
  command: Extract<CommandLine, { kind: "lab" | "datastore" }>,
): Promise<number> {
  const { limitProblem } = await import("./process/resource_limits.ts");
  const problem = limitProblem();
  if (problem !== undefined) {
    printError(`flanneld ${command.kind}: ${problem}\n`);
    return 1;
  }
  if (command.kind === "lab") {
    const { labCommand } = await import("./cli/lab_command.ts");
    return await labCommand(command.action, selfCommand(), OUTPUT);
  }
  const { datastoreCommand } = await import("./cli/datastore_command.ts");
  return await datastoreCommand(command.action, {
    ...OUTPUT,
    input: () => Bun.stdin.text(),
    isTerminal: process.stderr.isTTY === true,
  });
}

/** Returns the exit status of a command that only prints. */
async function print(text: string): Promise<number> {
  await printAll(text);
  return 0;
}

function printError(text: string): void {
  process.stderr.write(text);
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
    printError(`flanneld: cannot write the output: ${message}\n`);
    process.exit(1);
  }
}

/** The size of the terminal that standard output is; `undefined` if it is not one. */
function terminalSize(): { readonly columns: number; readonly rows: number } | undefined {
  const { isTTY, columns, rows } = process.stdout;
  // A terminal without a size, such as a serial console, reports 0.
  return isTTY ? { columns: columns || 80, rows: rows || 24 } : undefined;
}

/** The command that starts this program: the executable, or Bun and this file. */
function selfCommand(): readonly string[] {
  const isCompiled = Bun.main.startsWith("/$bunfs/");
  return isCompiled ? [process.execPath] : [process.execPath, Bun.main];
}

async function runDaemonCommand(
  { options, warnings }: Extract<CommandLine, { kind: "daemon" }>,
): Promise<number> {
  const { startWithRuntimeSettings } = await import("./process/runtime_settings.ts");
  const refusal = startWithRuntimeSettings();
  const [{ createLogger }, { RepeatedFailure }, { limitProblem, memoryWarning }] = await Promise
    .all([
      import("./log/logger.ts"),
      import("./log/repeated_failure.ts"),
      import("./process/resource_limits.ts"),
    ]);
  const log = createLogger({ format: options.logFormat, verbosity: options.verbosity });
  const stop = stopOnSignals(log);
  const what = "handling what an HTTP/2 server sent unrequested";
  reportUncaughtErrors(log, new RepeatedFailure({ log, clock: systemClock, what }));
  if (refusal !== undefined) {
    log.debug(`started without settings of the JavaScript runtime that save memory: ${refusal}`);
  }
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

function reportUncaughtErrors(log: Log, stray: RepeatedFailure): void {
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
