/**
 * extension: the data plane is made by commands of the network configuration.
 *
 * The journey of a packet is the business of those commands. The journey of a lease, for a node A
 * that comes up beside a node B, by what decides each step:
 *
 *   1. On A, PreStartupCommand makes what a subnet is not needed for, such as a device. What it prints
 *      becomes the `BackendData` of A's lease: its MAC address or public key, for example.
 *   2. A takes a subnet; PostStartupCommand uses it, for an address on the device for instance.
 *   3. B sees A's lease: its SubnetAddCommand is told A's subnets and public addresses by variables of
 *      its environment, and A's `BackendData` on standard input. So is A's, of B's lease.
 *   4. A goes, and its lease expires: B's SubnetRemoveCommand is told the same.
 *   5. A's ShutdownCommand runs when the daemon on A ends.
 *
 * Commands are run by `sh -c`. They run on differences: what has been done on this host since it was
 * booted is written down (hook_records.ts), and is not done again by a daemon that is restarted.
 */

import { familiesOf, type PerFamily } from "../../addr/family.ts";
import { ConfigError } from "../../config/config_error.ts";
import type { FamilyNetwork, NetworkConfig } from "../../config/network_config.ts";
import { readOptions } from "../../config/option_schema.ts";
import type { Log } from "../../log/log.ts";
import { killOrphans } from "../../process/orphan_processes.ts";
import { systemClock } from "../../base/clock.ts";
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
  async prepare(host) {
    const { config, log, stop } = host;
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
        `commands do not get the variables ${
          withheld.join(", ")
        }, which look like secrets; list in ` +
          "CommandEnvironment those that a command needs",
      );
    }
    const runner = new HookRunner({ log, env });
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
      clock: systemClock,
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
  /** For workloads, if it is not the external interface's. */
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
    // The commands' entries are not ours to compare.
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
        `${name} in the network configuration's Backend object has a NUL in it`,
      );
    }
  }
  if (options.SubnetAddCommand === "") {
    log.warn("there is no SubnetAddCommand, so nothing is done for the other nodes' subnets");
  }
  return options;
}

/** One for each network, as two daemons on one host may share the directory. */
function stateDirectory(runDirectory: string, networks: PerFamily<FamilyNetwork>): string {
  const name = familiesOf(networks)
    .map((family) => (networks[family] as FamilyNetwork).network.replace("/", "-"))
    .join("+");
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
