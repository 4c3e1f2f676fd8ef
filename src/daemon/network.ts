/**
 * A node that has a lease: its firewall rules, its kernel entries, the subnet file, and the
 * entries for the other nodes. Owns these parts, and the order in which they start and end.
 */

import type { GivenAddress } from "../addr/given_address.ts";
import { mapFamilies, type PerFamily, valuesOf } from "../addr/family.ts";
import type { Prefix } from "../addr/prefix.ts";
import { BACKENDS } from "../backend/backend_registry.ts";
import { unlessAborted } from "../base/abort.ts";
import { RepairHistory } from "../base/repair_history.ts";
import type { DaemonOptions } from "../cli/daemon_options.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import { type FirewallManager, type FirewallMode, firewallRules } from "../firewall/firewall.ts";
import type { ExcludedAddresses } from "../host/excluded_addresses.ts";
import type { ExternalInterface } from "../host/external_interface.ts";
import { ExternalInterfaceFollower } from "../host/external_interface_follower.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Log } from "../log/log.ts";
import type { Backend } from "../overlay/backend.ts";
import { blackholeRoutes } from "../overlay/blackhole_routes.ts";
import { removeOrphans } from "../overlay/orphans.ts";
import { type EntryProblem, Reconciler } from "../reconcile/reconciler.ts";
import type { Ownership } from "../state/ownership.ts";
import type { LeaseStore, OwnLease } from "../subnet/lease_store.ts";
import type { SubnetFile } from "../subnet/subnet_file.ts";
import type { NetworkPorts } from "./daemon_ports.ts";
import { disposeAll } from "./dispose_all.ts";
import { LeaseFollower } from "./lease_follower.ts";
import { MemoryRelease } from "./memory_release.ts";
import type { NetworkStatus, PeerSource, Problem, ProblemArea } from "./network_status.ts";
import { NetworkError } from "./network_error.ts";
import { PublicAddressPublisher } from "./public_address_publisher.ts";
import type { Readiness } from "./readiness.ts";
import { SubnetFileWriter } from "./subnet_file_writer.ts";

export interface NetworkOptions {
  readonly options: DaemonOptions;
  readonly config: NetworkConfig;
  readonly backend: Backend;
  readonly external: ExternalInterface;
  /** Addresses that it advertises instead of the interface's own. */
  readonly given: PerFamily<GivenAddress>;
  readonly own: OwnLease;
  readonly excluded: ExcludedAddresses;
  /** Networks and subnets of an earlier run, by which its rules are recognized. */
  readonly previousNetworks: readonly Prefix[];
  readonly kernel: Kernel;
  readonly store: LeaseStore;
  readonly ports: NetworkPorts;
  readonly readiness: Readiness;
  readonly log: Log;
  /** Called before the parts start. */
  readonly onNetwork?: (network: Network) => void;
}

const MAX_PROBLEMS = 20;

export class Network implements AsyncDisposable {
  readonly #options: NetworkOptions;
  readonly #reconciler: Reconciler;
  readonly #follower: ExternalInterfaceFollower;
  readonly #leases: LeaseFollower;
  readonly #publisher: PublicAddressPublisher;
  readonly #subnetFile: SubnetFileWriter;
  readonly #memory: MemoryRelease;
  readonly #repairs: RepairHistory;
  #firewall: FirewallManager | undefined;
  #ownership: Ownership;
  /** The node's own entries and the rules are installed, and the backend's target has started. */
  #isSetUp = false;
  #isStopped = false;

  /**
   * Installs the rules and the node's own entries, and writes the subnet file. Throws
   * `NetworkError`, `FirewallError`, `KernelError` or `BackendError`; what is in the kernel by
   * then stays there.
   */
  static async start(options: NetworkOptions, stop: AbortSignal): Promise<Network> {
    const network = new Network(options);
    options.readiness.addCheck(() => network.problems());
    options.onNetwork?.(network);
    try {
      await network.#start(stop);
      return network;
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(options: NetworkOptions) {
    const { backend, external, kernel, store, log, config, own, excluded } = options;
    const { clock, readInterfaces, readSysctl, subnetFile: file } = options.ports;
    this.#options = options;
    this.#repairs = new RepairHistory(clock);
    this.#ownership = backend.ownership(external);
    this.#memory = new MemoryRelease({ clock, release: () => options.ports.releaseMemory() });
    this.#follower = new ExternalInterfaceFollower({
      external,
      given: options.given,
      readInterfaces,
      kernel,
      problemOf: (next) => backend.externalProblem?.(next),
      onChanged: (next) => this.#externalChanged(next),
      onChecked: (next) => this.#readExcluded(next),
      clock,
      log,
    });
    this.#reconciler = new Reconciler({
      kernel,
      readSysctl,
      onExternalChanged: () => this.#follower.checkSoon(),
      repairs: this.#repairs,
      clock,
      log: log.child({ component: "reconcile" }),
    });
    this.#leases = new LeaseFollower({
      config,
      backend,
      own,
      excluded: excluded.addresses,
      external: () => this.#follower.external,
      ownership: () => this.#ownership,
      entryStore: this.#reconciler,
      onProcessed: () => this.#memory.onWork(),
      ...(options.options.ipBlackholeRoute && { extraEntries: blackholeRoutes }),
      store,
      kernel,
      clock,
      log,
    });
    const { attributes } = backend;
    const published = external.publicAddresses;
    this.#publisher = new PublicAddressPublisher({ own, attributes, published, clock, log });
    const { subnetFile: path } = options.options;
    const content = () => this.#subnetFileContent();
    this.#subnetFile = new SubnetFileWriter({ path, content, file, clock, log });
  }

  /**
   * Follows the other nodes' leases until `stop` aborts. Calls `onReady` when the kernel holds the
   * entries for the first complete list of leases, and the subnet file is written.
   */
  async followLeases(stop: AbortSignal, onReady: () => void): Promise<void> {
    await this.#leases.follow(stop, () => this.#completeStart(stop, onReady));
  }

  /** The other nodes. */
  get leases(): PeerSource {
    return this.#leases;
  }

  /** Why this node is not in sync, one line each, most important first. */
  problems(): string[] {
    return this.problemsByArea().map(({ text }) => text);
  }

  /** The same, each with the part of this node that has it. */
  problemsByArea(): Problem[] {
    const { failing, conflicts } = this.#reconciler.status();
    const firewall = this.#firewall?.status();
    const rules = firewall?.isInSync
      ? undefined
      : `firewall rules: ${firewall?.problem ?? "not installed yet"}`;
    const entryText = ({ text, error }: EntryProblem) => `${text}: ${error}`;
    const areas: readonly [ProblemArea, readonly (string | undefined)[]][] = [
      ["interface", [this.#follower.problem]],
      ["rules", [rules]],
      ["subnet file", [this.#subnetFile.problem]],
      ["lease", [this.#options.own.problem]],
      ["public address", [this.#publisher.problem]],
      ["peers", this.#leases.problems()],
      ["conflict", conflicts.map(entryText)],
      ["entry", failing.map(entryText)],
      ["backend", this.#options.backend.target?.problems() ?? []],
    ];
    const problems = areas.flatMap(([area, texts]) =>
      texts.filter((text) => text !== undefined).map((text) => ({ area, text }))
    );
    const rest = problems.length - MAX_PROBLEMS;
    if (rest <= 0) return problems;
    return [...problems.slice(0, MAX_PROBLEMS), { area: "entry", text: `and ${rest} more` }];
  }

  status(): NetworkStatus {
    const { backend, own } = this.#options;
    return {
      external: this.#follower.external,
      backend,
      own,
      peers: { ...this.#leases.status(), ...this.#leases.paths() },
      rules: { mode: this.#rulesMode, isInSync: this.#firewall?.status().isInSync ?? false },
      repairs: this.#repairs.list(),
      problems: this.problemsByArea(),
    };
  }

  /**
   * One line: this node's subnet and the number of peers. A peer that cannot be reached or is
   * ignored is counted here and named in the log; it does not make this node unready.
   */
  summary(): string {
    const { backend, own } = this.#options;
    const { peers, unreachable, ignored } = this.#leases.status();
    const parts = [
      `${backend.type}: subnet ${valuesOf(own.lease.subnets).join(" and ")}`,
      peersText(peers),
    ];
    if (unreachable > 0) parts.push(`${unreachable} of them unreachable`);
    if (ignored > 0) parts.push(ignored === 1 ? "1 lease ignored" : `${ignored} leases ignored`);
    return parts.join(", ");
  }

  /** Ends all parts. Devices, entries, rules and the subnet file stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    await disposeAll([
      this.#memory,
      this.#subnetFile,
      this.#follower,
      this.#firewall,
      this.#options.backend.target,
      this.#leases,
      this.#reconciler,
      this.#publisher,
    ]);
  }

  async #start(stop: AbortSignal): Promise<void> {
    const { own, readiness, backend } = this.#options;
    readiness.step("installing the firewall rules and this node's own kernel entries");
    const { name } = this.#follower.external;
    this.#reconciler.start({ ownership: this.#ownership, external: name });
    this.#leases.start();
    await this.#startFirewall();
    await this.#setUpNode(stop);
    await this.#firewall?.whenInstalled(stop);
    const { target } = backend;
    const { external } = this.#follower;
    if (target !== undefined) readiness.step(`starting the ${backend.type} backend`);
    await target?.start({ own: own.lease, external }, stop);
    this.#isSetUp = true;
    this.#follower.startReporting();
    if (this.#follower.external !== external) this.#notifyTarget();
    await this.#subnetFile.write();
  }

  /**
   * The node's own entries, over the interface in its current state: it was chosen before the
   * lease, which may have taken long to acquire. A reader of the subnet file needs the device, so
   * the file is not written without it.
   */
  async #setUpNode(stop: AbortSignal): Promise<void> {
    do {
      stop.throwIfAborted();
      await this.#reconciler.whenSettled();
      // From now on the reconciler reports changes of the interface; only a check finds earlier
      // ones.
    } while (await this.#follower.check());
    if (this.#follower.problem !== undefined) throw new NetworkError(this.#follower.problem);
    const { failing, conflicts } = this.#reconciler.status();
    const [problem] = [...conflicts, ...failing];
    if (problem !== undefined) {
      throw new NetworkError(`cannot set up "${problem.text}": ${problem.error}`);
    }
  }

  async #startFirewall(): Promise<void> {
    const { options, config, own, previousNetworks, ports, log } = this.#options;
    this.#firewall = await ports.createFirewallManager({
      mode: this.#rulesMode,
      onRepaired: (family) =>
        this.#repairs.add("restored", () => `IPv${family} rules in ${this.#rulesMode}`),
      previousNetworks,
      resyncMs: options.iptablesResyncSeconds * 1000,
      clock: ports.clock,
      log: log.child({ component: "firewall" }),
    });
    this.#firewall.setRules(firewallRules({
      families: mapFamilies(own.lease.subnets, (subnet, family) => {
        const network = config.families[family]?.network;
        return network && { network, subnet };
      }),
      ipMasq: options.ipMasq,
      fullyRandom: !options.ipMasqFullyRandomDisable,
      forward: options.iptablesForwardRules,
    }));
  }

  /** After the first complete list of leases: what belongs to none of them can be removed. */
  async #completeStart(stop: AbortSignal, onReady: () => void): Promise<void> {
    const { own, readiness, options, ports, log } = this.#options;
    const { target } = this.#options.backend;
    readiness.step(`installing the kernel entries for ${peersText(this.#leases.status().peers)}`);
    await this.#leases.whenReachabilityKnown();
    this.#reconciler.allowSweep();
    target?.allowSweep();
    const settled = Promise.all([this.#reconciler.whenSettled(), target?.whenSettled()]);
    // A command for a peer may take long. `stop` ends the wait.
    await unlessAborted(settled, stop).catch((error) => {
      if (!stop.aborted) throw error;
    });
    if (stop.aborted) return;
    // A kernel port follows the tables that it has read. The node's own port has no need of these.
    using kernel = ports.openKernel();
    await removeOrphans({
      kernel,
      ownership: this.#ownership,
      isBackendDevice: (name) => BACKENDS.isDeviceName(name),
      log,
    });
    readiness.step(`writing the subnet file ${options.subnetFile}`);
    void this.#subnetFile.written.then(() => {
      own.networkReady();
      onReady();
    });
  }

  get #rulesMode(): FirewallMode {
    return this.#options.config.enableNftables ? "nftables" : "iptables";
  }

  #subnetFileContent(): SubnetFile {
    const { options, config, own, backend } = this.#options;
    return {
      networks: mapFamilies(config.families, ({ network }) => network),
      subnets: own.lease.subnets,
      mtuBytes: backend.mtuBytes(this.#follower.external),
      ipMasq: options.ipMasq,
    };
  }

  async #readExcluded(external: ExternalInterface): Promise<void> {
    const { excluded } = this.#options;
    if (!await excluded.read(external) || this.#isStopped) return;
    this.#leases.setExcluded(excluded.addresses);
  }

  async #externalChanged(external: ExternalInterface): Promise<void> {
    if (this.#isStopped) return;
    this.#ownership = this.#options.backend.ownership(external);
    this.#reconciler.setScope({ ownership: this.#ownership, external: external.name });
    this.#leases.externalChanged(external);
    this.#publisher.publish(external.publicAddresses);
    if (!this.#isSetUp) return;
    this.#notifyTarget();
    await this.#subnetFile.write();
  }

  #notifyTarget(): void {
    const { external } = this.#follower;
    this.#options.backend.target?.externalChanged({ own: this.#options.own.lease, external });
  }
}

function peersText(peers: number): string {
  return peers === 1 ? "1 peer" : `${peers} peers`;
}
