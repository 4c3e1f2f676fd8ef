/**
 * The node's own commands: PreStartupCommand before the lease, PostStartupCommand with it,
 * ShutdownCommand at the end.
 *
 * What the first two made stays when the daemon ends, so a restart runs neither: traffic goes on. They
 * run again after a reboot, after ShutdownCommand, and when they or what they were told are others
 * than before. PreStartupCommand may then have made a device anew, without the entries for the peers:
 * each set-up has a `generation`, and peers of an earlier one are added again.
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
  /** What PreStartupCommand printed, now or in an earlier run: what the other nodes are told. */
  readonly output: string;
  readonly #setup: HookSetupOptions;
  readonly #kept: SetupRecord | undefined;
  #generation: string | undefined;
  #variables: HookVariables | undefined;

  /**
   * Runs PreStartupCommand, unless it has run and still holds; `expected` is this node as it probably
   * will be. Throws `BackendError` when it fails, or the reason of `stop`.
   */
  static async prepare(
    setup: HookSetupOptions,
    expected: Self,
    stop: AbortSignal,
  ): Promise<HookSetup> {
    const { records, options, log } = setup;
    const kept = records.setup;
    const variables = toldVariables(setup, expected);
    if (
      kept?.isComplete && kept.commands.join("\0") === commandsOf(options).join("\0") &&
      sameVariables(kept.variables, variables)
    ) {
      if (options.PreStartupCommand !== "" || options.PostStartupCommand !== "") {
        log.info("this host was set up by an earlier run; the commands for that do not run again");
      }
      return new HookSetup(setup, kept.output, kept);
    }
    // The subnet is not known yet, whatever is expected.
    const told = hookVariables({ ...expected, networks: setup.networks, subnets: {} });
    const output = (await runNodeCommand(setup, "PreStartupCommand", told, stop)).trim();
    const bytes = Buffer.byteLength(output);
    if (bytes > MAX_DATA_BYTES) {
      throw new BackendError(
        `PreStartupCommand printed ${bytes} bytes, more than the ${MAX_DATA_BYTES} that the ` +
          "other nodes are told; send what they need not know to standard error",
      );
    }
    return new HookSetup(setup, output, undefined);
  }

  private constructor(setup: HookSetupOptions, output: string, kept: SetupRecord | undefined) {
    this.#setup = setup;
    this.output = output;
    this.#kept = kept;
  }

  /** Which set-up it is; known after `start`. */
  get generation(): string {
    if (this.#generation === undefined) throw new Error("the node is not set up yet");
    return this.#generation;
  }

  /** Runs PostStartupCommand, unless it has run and still holds. Throws as `prepare`. */
  async start(self: Self, stop: AbortSignal): Promise<void> {
    const { options, records, networks, log } = this.#setup;
    this.#variables = hookVariables({ networks, ...self });
    const variables = toldVariables(this.#setup, self);
    if (this.#kept !== undefined && sameVariables(this.#kept.variables, variables)) {
      this.#generation = this.#kept.generation;
      return;
    }
    if (this.#kept !== undefined) {
      log.warn("this node's subnet is another than before; PostStartupCommand runs again");
    }
    await runNodeCommand(this.#setup, "PostStartupCommand", this.#variables, stop, this.output);
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

  /** Runs ShutdownCommand; the next run begins from nothing then. Reports a failure. */
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

/** What must be as it was for the set-up to hold; nothing, where no command was told anything. */
function toldVariables({ networks, options }: HookSetupOptions, self: Self): HookVariables {
  const isTold = commandsOf(options).some((command) => command !== "");
  return hookVariables({ networks: isTold ? networks : {}, ...self });
}

/** Runs a command after noting that the host is in the middle of being set up. */
async function runNodeCommand(
  setup: HookSetupOptions,
  name: "PreStartupCommand" | "PostStartupCommand",
  variables: HookVariables,
  stop: AbortSignal,
  output = "",
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
      signal: stop,
    });
  } catch (error) {
    if (!(error instanceof HookError)) throw error;
    throw new BackendError(`${error.message}; mend it in the network configuration`, {
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
    // The end of line that `read` of a shell waits for, as for a peer without data.
    input: { variables, stdin: "\n" },
    timeoutMs,
    mark,
    signal,
  });
}
