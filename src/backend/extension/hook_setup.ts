/**
 * The node's own commands: PreStartupCommand before the lease, PostStartupCommand with it,
 * ShutdownCommand at the end.
 *
 * The results of the first two stay when the daemon ends, so a restart runs neither, and traffic
 * continues. They run again after a reboot, after ShutdownCommand, and when they or their input
 * have changed. PreStartupCommand may then have created a new device, without the entries for the
 * peers: so each setup has a `generation`, and peers of an earlier generation are added again.
 */

import type { PerFamily } from "../../addr/family.ts";
import type { IpAddress } from "../../addr/ip.ts";
import type { Prefix } from "../../addr/prefix.ts";
import type { FamilyNetwork } from "../../config/network_config.ts";
import type { Log } from "../../log/log.ts";
import { BackendError } from "../../overlay/backend_error.ts";
import { type HookVariables, hookVariables, MAX_DATA_BYTES, sameVariables } from "./hook_input.ts";
import type { HookRecords, SetupRecord } from "./hook_records.ts";
import { HookError, type HookName, type HookRunner } from "./hook_runner.ts";
import { type ExtensionOptions, SHUTDOWN_MS } from "./extension_options.ts";

export interface HookSetupOptions {
  readonly options: ExtensionOptions;
  readonly records: HookRecords;
  readonly runner: HookRunner;
  readonly networks: PerFamily<FamilyNetwork>;
  readonly log: Log;
}

interface Self {
  readonly subnets: PerFamily<Prefix>;
  readonly publicAddresses: PerFamily<IpAddress>;
}

export class HookSetup {
  /** What PreStartupCommand printed, now or in an earlier run: the `BackendData` of the lease. */
  readonly output: string;
  readonly #setup: HookSetupOptions;
  readonly #kept: SetupRecord | undefined;
  #generation: string | undefined;
  #variables: HookVariables | undefined;

  /**
   * Runs PreStartupCommand, unless an earlier setup is still valid. `expected` are the addresses
   * that this node will probably have. Throws `BackendError` if it fails, or the reason of `stop`.
   */
  static async prepare(
    setup: HookSetupOptions,
    expected: Self,
    stop: AbortSignal,
  ): Promise<HookSetup> {
    const { records, options, log } = setup;
    const kept = records.setup;
    const variables = setupVariables(setup, expected);
    if (
      kept?.isComplete && kept.commands.join("\0") === commandsOf(options).join("\0") &&
      sameVariables(kept.variables, variables)
    ) {
      if (options.PreStartupCommand !== "" || options.PostStartupCommand !== "") {
        log.info(
          "an earlier run has set up this host; the commands for that do not run again",
        );
      }
      return new HookSetup(setup, kept.output, kept);
    }
    // Without the expected subnets: they are not certain yet.
    const input = hookVariables({ ...expected, networks: setup.networks, subnets: {} });
    const output = (await runNodeCommand(setup, {
      name: "PreStartupCommand",
      variables: input,
      output: "",
      signal: stop,
    })).trim();
    const bytes = Buffer.byteLength(output);
    if (bytes > MAX_DATA_BYTES) {
      throw new BackendError(
        `PreStartupCommand printed ${bytes} bytes, more than the ${MAX_DATA_BYTES} that fit into ` +
          "BackendData; send everything that other nodes do not need to standard error",
      );
    }
    return new HookSetup(setup, output, undefined);
  }

  private constructor(setup: HookSetupOptions, output: string, kept: SetupRecord | undefined) {
    this.#setup = setup;
    this.output = output;
    this.#kept = kept;
  }

  /** Identifies this setup; known after `start`. */
  get generation(): string {
    if (this.#generation === undefined) throw new Error("start() has not finished yet");
    return this.#generation;
  }

  /** Runs PostStartupCommand, unless an earlier setup is still valid. Throws as `prepare`. */
  async start(self: Self, stop: AbortSignal): Promise<void> {
    const { options, records, networks, log } = this.#setup;
    this.#variables = hookVariables({ networks, ...self });
    const variables = setupVariables(this.#setup, self);
    if (this.#kept !== undefined && sameVariables(this.#kept.variables, variables)) {
      this.#generation = this.#kept.generation;
      return;
    }
    if (this.#kept !== undefined) {
      log.warn("this node's subnet has changed; running PostStartupCommand again");
    }
    await runNodeCommand(this.#setup, {
      name: "PostStartupCommand",
      variables: this.#variables,
      output: this.output,
      signal: stop,
    });
    this.#generation = crypto.randomUUID();
    await records.writeSetup({
      generation: this.#generation,
      isComplete: true,
      mark: "",
      commands: commandsOf(options),
      variables,
      output: this.output,
    });
  }

  /** Runs ShutdownCommand; the next run sets up the node again. Logs a failure. */
  async shutDown(): Promise<void> {
    const { options, records, log } = this.#setup;
    if (options.ShutdownCommand === "" || this.#variables === undefined) return;
    await records.deleteSetup();
    try {
      await runCommand(this.#setup, {
        name: "ShutdownCommand",
        variables: this.#variables,
        mark: crypto.randomUUID(),
        timeoutMs: SHUTDOWN_MS,
        signal: new AbortController().signal,
      });
    } catch (error) {
      if (!(error instanceof HookError)) throw error;
      log.error(error.message);
    }
  }
}

function commandsOf({ PreStartupCommand, PostStartupCommand }: ExtensionOptions): string[] {
  return [PreStartupCommand, PostStartupCommand];
}

/** The variables that a setup depends on; empty ones if it has no commands. */
function setupVariables({ networks, options }: HookSetupOptions, self: Self): HookVariables {
  const hasCommands = commandsOf(options).some((command) => command !== "");
  return hookVariables({ networks: hasCommands ? networks : {}, ...self });
}

interface SetupCommand {
  readonly name: "PreStartupCommand" | "PostStartupCommand";
  readonly variables: HookVariables;
  /** What PreStartupCommand has printed. */
  readonly output: string;
  readonly signal: AbortSignal;
}

/** Runs a command, after recording that the setup is not complete. */
async function runNodeCommand(
  setup: HookSetupOptions,
  { name, variables, output, signal }: SetupCommand,
): Promise<string> {
  const { options, records } = setup;
  if (options[name] === "") return "";
  const mark = crypto.randomUUID();
  await records.writeSetup({
    generation: "",
    isComplete: false,
    mark,
    commands: commandsOf(options),
    variables,
    output,
  });
  try {
    return await runCommand(setup, {
      name,
      variables,
      mark,
      timeoutMs: options.CommandTimeoutSeconds * 1000,
      signal,
    });
  } catch (error) {
    if (!(error instanceof HookError)) throw error;
    throw new BackendError(`${error.message}; correct it in the network configuration`, {
      cause: error,
    });
  }
}

interface NodeCommand {
  readonly name: Exclude<HookName, "SubnetAddCommand" | "SubnetRemoveCommand">;
  readonly variables: HookVariables;
  readonly mark: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

async function runCommand(
  { options, runner }: HookSetupOptions,
  { name, variables, mark, timeoutMs, signal }: NodeCommand,
): Promise<string> {
  return await runner.run({
    name,
    subject: "",
    command: options[name],
    // The newline that a shell's `read` waits for, as for a peer without data.
    input: { variables, stdin: "\n" },
    timeoutMs,
    mark,
    signal,
  });
}
