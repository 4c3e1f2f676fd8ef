/**
 * extension: commands of the network configuration create the data plane.
 *
 * The journey of a packet depends on these commands. This is the journey of a lease, for a node A
 * that joins a node B, with what decides each step:
 *
 *   1. On A, PreStartupCommand creates what needs no subnet, such as a device. Its output becomes
 *      the `BackendData` of A's lease: a MAC address or a public key, for example.
 *   2. A acquires a subnet. PostStartupCommand uses it, for example as the address of the device.
 *   3. B receives A's lease. B's SubnetAddCommand gets A's subnets and public addresses as
 *      environment variables, and A's `BackendData` on standard input. A's SubnetAddCommand does
 *      the same for B.
 *   4. When A has left and its lease has expired, B's SubnetRemoveCommand runs with the same input.
 *   5. A's ShutdownCommand runs when the daemon on A ends.
 *
 * `sh -c` runs the commands, and only for differences: a record of what has been done since the
 * boot (hook_records.ts) keeps a restarted daemon from doing it again.
 */

import { type PerFamily, valuesOf } from "../../addr/family.ts";
import { ConfigError } from "../../config/config_error.ts";
import type { FamilyNetwork, NetworkConfig } from "../../config/network_config.ts";
import { NO_WARNINGS, readOptions } from "../../config/option_schema.ts";
import type { Log } from "../../log/log.ts";
import { killOrphans } from "../../process/orphan_processes.ts";
import { advertisedAddresses } from "../../overlay/advertised_addresses.ts";
import type { Backend, BackendHost, BackendModule } from "../../overlay/backend.ts";
import { devicelessOwnership } from "../../overlay/deviceless_ownership.ts";
import { hookEnvironment } from "./hook_environment.ts";
import { peerInput } from "./hook_input.ts";
import { bootIdentity, HookRecords } from "./hook_records.ts";
import { HookRunner, MARK_VARIABLE } from "./hook_runner.ts";
import { HookSetup } from "./hook_setup.ts";
import { HookTarget } from "./hook_target.ts";
import { EXTENSION } from "./extension_descriptor.ts";
import { type ExtensionOptions, OPTIONS } from "./extension_options.ts";
import { checkSyntax } from "./shell_syntax.ts";

const extension: BackendModule = {
  checkConfig: readConfig,
  options: OPTIONS,
  mtuBytes: (config, external) => readConfig(config, NO_WARNINGS).MTU ?? external.mtuBytes,
  async prepare(host) {
    const { config, clock, log, stop } = host;
    const { families: networks } = config;
    const options = readConfig(config, log);
    await checkSyntax(options, stop);
    const publicAddresses = advertisedAddresses(host);
    const records = await HookRecords.open({
      directory: stateDirectory(host.runDirectory, networks),
      boot: bootIdentity(),
      warn: (message) => log.warn(message),
    });
    await killOrphanedCommands(records, host);
    const { env, withheld } = hookEnvironment(host.env, options.CommandEnvironment);
    if (withheld.length > 0) {
      log.info(
        `commands do not get the variables ${withheld.join(", ")}, which look like secrets; ` +
          "list those that a command needs in CommandEnvironment",
      );
    }
    const runner = new HookRunner({ log, env, clock });
    const subnets = host.previousLease?.subnets ?? {};
    const setup = await HookSetup.prepare(
      { options, records, runner, networks, log },
      { subnets, publicAddresses },
      stop,
    );
    const target = new HookTarget({
      options,
      setup,
      records,
      runner,
      networks,
      clock,
      log,
    });
    return extensionBackend({
      networks,
      publicAddresses,
      mtuBytes: options.MTU,
      output: setup.output,
      target,
    });
  },
};

export default extension;

interface ExtensionSetup {
  readonly networks: PerFamily<FamilyNetwork>;
  readonly publicAddresses: Backend["attributes"]["publicAddresses"];
  /** MTU of workloads; `undefined` for that of the external interface. */
  readonly mtuBytes: number | undefined;
  readonly output: string;
  readonly target: HookTarget;
}

function extensionBackend(
  { networks, publicAddresses, mtuBytes, output, target }: ExtensionSetup,
): Backend {
  return {
    type: EXTENSION.type,
    attributes: {
      publicAddresses,
      backendType: EXTENSION.type,
      backendData: output === "" ? {} : { 4: output },
    },
    needsReachability: false,
    // The entries that commands create are not compared.
    ownership: () => devicelessOwnership(networks),
    mtuBytes: (external) => mtuBytes ?? external.mtuBytes,
    node: () => [],
    peer(peer) {
      peerInput(peer, networks);
      return [];
    },
    target,
  };
}

function readConfig({ backend }: NetworkConfig, log: Pick<Log, "warn">): ExtensionOptions {
  const options = readOptions(backend.options, OPTIONS, log);
  for (const [name, command] of Object.entries(options)) {
    if (typeof command === "string" && command.includes("\0")) {
      throw new ConfigError(
        `${name} in the network configuration's Backend object contains a NUL character`,
        { key: name },
      );
    }
  }
  if (options.SubnetAddCommand === "") {
    log.warn("no SubnetAddCommand is configured: nothing is done for the subnets of other nodes");
  }
  return options;
}

/** One for each network, because two daemons on one host may share the run directory. */
function stateDirectory(runDirectory: string, networks: PerFamily<FamilyNetwork>): string {
  const name = valuesOf(networks).map(({ network }) => network.replace("/", "-")).join("+");
  return `${runDirectory}/extension/${name}`;
}

/** Commands that a killed daemon started may not run at the same time as those of this one. */
async function killOrphanedCommands(
  { unfinished }: HookRecords,
  { log }: BackendHost,
): Promise<void> {
  if (unfinished.size === 0) return;
  const count = await killOrphans(MARK_VARIABLE, unfinished);
  if (count > 0) {
    log.warn(`killed ${count} processes of commands that the previous run had started`);
  }
}
