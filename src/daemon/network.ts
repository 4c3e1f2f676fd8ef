/**
 * This node's part of the overlay, once it has a lease: rules, kernel entries, the subnet file, and
 * everybody else's leases turned into entries as they come and go.
 */

import { OperatorError } from "../base/operator_error.ts";
import { mapFamilies } from "../addr/family.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Backend } from "../overlay/backend.ts";
import type { ExternalInterface } from "../host/external_interface.ts";
import { BACKENDS } from "../backend/backend_registry.ts";
import { blackholeRoutes } from "../overlay/blackhole_routes.ts";
import { traceLeaseEvent } from "../overlay/lease_event_trace.ts";
import { removeOrphans } from "../overlay/orphans.ts";
import { OverlayController } from "../overlay/overlay_controller.ts";
import { ReachabilitySource } from "../overlay/peer_reachability.ts";
import { type DaemonOptions, givenAddresses } from "../cli/daemon_options.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import { readInterfaces } from "../host/interface_reader.ts";
import { RateLimitedWarnings } from "../log/rate_limited_warnings.ts";
import type { Log } from "../log/log.ts";
import { NetlinkKernel } from "../kernel/netlink_kernel.ts";
import { readSysctl } from "../kernel/sysctl/proc_sys.ts";
import { Reconciler } from "../reconcile/reconciler.ts";
import type { Ownership } from "../state/ownership.ts";
import type { LeaseWatch } from "../subnet/lease.ts";
import { LeaseTable } from "../subnet/lease_table.ts";
import type { LeaseStore, OwnLease } from "../subnet/lease_store.ts";
import { writeSubnetFile } from "../subnet/subnet_file.ts";
import { systemClock } from "../base/clock.ts";
import { firewallRules } from "../firewall/rules/firewall_rules.ts";
import { createFirewallManager, type FirewallManager } from "../firewall/firewall.ts";
import { PublicAddressPublisher } from "./public_address_publisher.ts";
import { ExternalInterfaceFollower } from "../host/external_interface_follower.ts";
import type { ExcludedAddresses } from "../host/excluded_addresses.ts";
import { IdentityWatch } from "./identity_watch.ts";
import type { Readiness } from "./readiness.ts";

export interface NetworkOptions {
  readonly options: DaemonOptions;
  readonly config: NetworkConfig;
  readonly backend: Backend;
  readonly external: ExternalInterface;
  readonly own: OwnLease;
  readonly excluded: ExcludedAddresses;
  readonly kernel: NetlinkKernel;
  readonly store: LeaseStore;
  readonly progress: Readiness;
  /** Networks and subnets of a former run, by which its rules are known. */
  readonly formerNetworks: readonly Prefix[];
  readonly log: Log;
}

const FILE_RETRY_MS = 5000;
const MAX_PROBLEMS = 20;

/** The kernel does not take what this node needs. */
export class NetworkError extends OperatorError {
  override readonly name = "NetworkError";
}

export class Network implements AsyncDisposable {
  readonly #options: NetworkOptions;
  readonly #log: Log;
  readonly #cleanup = new AsyncDisposableStack();
  readonly #reconciler: Reconciler;
  readonly #reachability: ReachabilitySource;
  readonly #projector: OverlayController;
  readonly #identities: IdentityWatch;
  readonly #table: LeaseTable;
  readonly #advertiser: PublicAddressPublisher;
  #traffic: FirewallManager | undefined;
  readonly #follower: ExternalInterfaceFollower;
  #ownership: Ownership;
  #fileProblem: string | undefined;
  /** A failure to process the other nodes' leases as a whole; a single lease is just ignored. */
  #leasesProblem: string | undefined;
  readonly #fileWritten = Promise.withResolvers<void>();
  /** The node's own entries, the rules and what the target does are in place; the file may be there. */
  #isSetUp = false;
  #fileTimer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  /**
   * Puts rules and the node's own entries in, and writes the subnet file. Throws `NetworkError` or
   * `FirewallError`.
   */
  static async start(options: NetworkOptions, stop: AbortSignal): Promise<Network> {
    const network = new Network(options);
    options.progress.addCheck(() => network.problems());
    try {
      await network.#start(stop);
      return network;
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(options: NetworkOptions) {
    const { backend, external, kernel, log, config, own, excluded } = options;
    this.#options = options;
    this.#log = log;
    this.#follower = new ExternalInterfaceFollower({
      external,
      given: givenAddresses(options.options),
      readInterfaces,
      problemOf: (next) => backend.externalProblem?.(next),
      kernel,
      onChanged: (next) => this.#externalChanged(next),
      onChecked: (next) => this.#readExcluded(next),
      clock: systemClock,
      log,
    });
    this.#ownership = backend.ownership(external);
    this.#reconciler = new Reconciler({
      kernel,
      log: log.child({ component: "reconcile" }),
      readSysctl,
      onExternalChanged: () => this.#follower.checkSoon(),
    });
    this.#reachability = new ReachabilitySource({
      kernel,
      ownership: () => this.#ownership,
      external: () => this.#follower.external,
      onChanged: () => this.#projector.reachabilityChanged(),
    });
    const extra = options.options.ipBlackholeRoute ? { extra: blackholeRoutes } : {};
    this.#projector = new OverlayController({
      backend,
      entryStore: this.#reconciler,
      reachability: this.#reachability,
      clock: systemClock,
      log: log.child({ component: backend.type }),
      onConflictsChanged: () => this.#identities.contestedChanged(),
      ...extra,
    }, external);
    this.#identities = new IdentityWatch({
      store: options.store,
      own,
      identity: backend.identity,
      contested: () => this.#projector.conflictingAddresses,
      onAlive: (addresses) => this.#projector.setLiveNodes(addresses),
      log: log.child({ component: backend.type }),
    });
    const lines = this.#cleanup.use(new RateLimitedWarnings({ log, clock: systemClock }));
    this.#table = new LeaseTable({
      config,
      own: own.lease,
      excluded: excluded.addresses,
      backendType: backend.attributes.backendType,
      onRejected: ({ key, ...why }) => lines.warn({ what: "ignoring lease", name: key, ...why }),
    });
    this.#advertiser = new PublicAddressPublisher({
      own,
      attributes: backend.attributes,
      told: external.publicAddresses,
      clock: systemClock,
      log,
    });
    this.#cleanup.use(this.#advertiser);
    this.#cleanup.use(this.#reconciler);
    this.#cleanup.use(this.#reachability);
    this.#cleanup.use(this.#projector);
    this.#cleanup.use(this.#identities);
    if (backend.target !== undefined) this.#cleanup.use(backend.target);
  }

  /**
   * Follows the other nodes' leases until `stop` aborts; calls `onReady` when the kernel holds what
   * the first complete snapshot asks for and the subnet file is there.
   */
  async followLeases(stop: AbortSignal, onReady: () => void): Promise<void> {
    let hasSnapshot = false;
    for await (const event of this.#options.store.watchLeases(stop)) {
      const isTaken = this.#take(event);
      if (!isTaken || event.kind !== "snapshot" || hasSnapshot) continue;
      hasSnapshot = true;
      const { progress, options } = this.#options;
      const others = this.#projector.status().peers;
      progress.step(`making the kernel's entries for ${others} other nodes`);
      await this.#projector.whenReachabilityKnown();
      const { target } = this.#options.backend;
      this.#reconciler.allowSweep();
      target?.allowSweep();
      await this.#whenSettled(stop);
      if (stop.aborted) return;
      // A kernel port of its own, so that this one does not follow tables that nobody needs.
      using kernel = new NetlinkKernel();
      await removeOrphans({
        kernel,
        ownership: this.#ownership,
        isBackendDevice: (name) => BACKENDS.isDeviceName(name),
        log: this.#log,
      });
      progress.step(`writing the subnet file ${options.subnetFile}`);
      void this.#fileWritten.promise.then(onReady);
    }
  }

  /** Returns whether the event was processed. Failures of a single lease are handled where it is read. */
  #take(event: LeaseWatch): boolean {
    traceLeaseEvent(this.#log, event);
    try {
      const changes = this.#table.apply(event);
      this.#projector.applyChanges(changes);
      this.#identities.leasesChanged(changes);
      if (event.kind === "snapshot") this.#leasesProblem = undefined;
      return true;
    } catch (error) {
      const { message, stack } = error as Error;
      this.#leasesProblem = `cannot process a change to the other nodes' leases: ${message}`;
      this.#log.error({ stack: stack?.slice(0, 2000) }, `${this.#leasesProblem}; restart flanneld`);
      return false;
    }
  }

  /** Why this node is not as it should be, one line each, most important first. */
  problems(): string[] {
    const { failing, conflicts } = this.#reconciler.status();
    const traffic = this.#traffic?.status();
    const problems = [
      this.#follower.problem,
      traffic?.inSync ? undefined : `traffic rules: ${traffic?.problem ?? "not in yet"}`,
      this.#fileProblem,
      this.#leasesProblem,
      this.#options.own.problem,
      this.#advertiser.problem,
      this.#identities.problem,
      ...conflicts.map(({ text, error }) => `${text}: ${error}`),
      ...failing.map(({ text, error }) => `${text}: ${error}`),
      ...this.#options.backend.target?.problems() ?? [],
    ].filter((problem) => problem !== undefined);
    const rest = problems.length - MAX_PROBLEMS;
    return rest > 0 ? [...problems.slice(0, MAX_PROBLEMS), `and ${rest} more`] : problems;
  }

  /**
   * One line: what this node holds and how many others there are. A peer that cannot be reached, or
   * that makes no sense, is told here and in the log; it does not make this node unready.
   */
  summary(): string {
    const { backend, own } = this.#options;
    const { peers, unreachable, ignored: ignoredPeers } = this.#projector.status();
    const ignored = ignoredPeers.size + this.#table.rejected.size;
    const parts = [
      `${backend.type}: subnet ${Object.values(own.lease.subnets).join(" and ")}`,
      peers === 1 ? "1 peer" : `${peers} peers`,
    ];
    if (unreachable.size > 0) parts.push(`${unreachable.size} of them unreachable`);
    if (ignored > 0) parts.push(ignored === 1 ? "1 lease ignored" : `${ignored} leases ignored`);
    return parts.join(", ");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#fileTimer);
    await this.#follower[Symbol.asyncDispose]();
    await this.#cleanup.disposeAsync();
  }

  /** Until all that can be done has been done, which a command for a peer may delay, or `stop`. */
  async #whenSettled(stop: AbortSignal): Promise<void> {
    const stopped = Promise.withResolvers<void>();
    stop.addEventListener("abort", () => stopped.resolve(), { once: true });
    if (stop.aborted) return;
    const { target } = this.#options.backend;
    const settled = Promise.all([this.#reconciler.whenSettled(), target?.whenSettled()]);
    await Promise.race([settled, stopped.promise]);
  }

  async #start(stop: AbortSignal): Promise<void> {
    const { own, progress, backend } = this.#options;
    progress.step("setting up the traffic rules and this node's own entries in the kernel");
    const { name } = this.#follower.external;
    this.#reconciler.start({ ownership: this.#ownership, external: name });
    this.#projector.ownChanged(own.lease);
    await this.#startTraffic();
    await this.#setUpNode(stop);
    await this.#traffic?.whenInstalled(stop);
    const { target } = backend;
    const { external } = this.#follower;
    if (target !== undefined) progress.step(`starting the ${backend.type} backend's own work`);
    await target?.start({ own: own.lease, external }, stop);
    this.#isSetUp = true;
    this.#follower.startReporting();
    if (this.#follower.external !== external) this.#tellTarget();
    await this.#writeFile();
  }

  /**
   * The node's own entries, over the interface as it is by now: it was chosen before the lease, for
   * which the store may have kept us waiting. What reads the subnet file must find the device, so
   * there is no file without one.
   */
  async #setUpNode(stop: AbortSignal): Promise<void> {
    do {
      stop.throwIfAborted();
      await this.#reconciler.whenSettled();
      // From here on the reconciler tells of changes; those before it has not seen.
    } while (await this.#follower.check());
    if (this.#follower.problem !== undefined) throw new NetworkError(this.#follower.problem);
    const { failing, conflicts } = this.#reconciler.status();
    const [problem] = [...conflicts, ...failing];
    if (problem !== undefined) {
      throw new NetworkError(`cannot set up "${problem.text}": ${problem.error}`);
    }
  }

  async #startTraffic(): Promise<void> {
    const { options, config, own, formerNetworks, log } = this.#options;
    const traffic = await createFirewallManager({
      mode: config.enableNftables ? "nftables" : "iptables",
      formerNetworks,
      resyncMs: options.iptablesResyncSeconds * 1000,
      clock: systemClock,
      log: log.child({ component: "traffic" }),
    });
    this.#traffic = this.#cleanup.use(traffic);
    traffic.setRules(firewallRules({
      families: mapFamilies(own.lease.subnets, (subnet, family) => {
        const network = config.families[family]?.network;
        return network && { network, subnet };
      }),
      ipMasq: options.ipMasq,
      fullyRandom: !options.ipMasqFullyRandomDisable,
      forward: options.iptablesForwardRules,
    }));
  }

  /** Tries again until it succeeds: what needs the file waits for it. */
  async #writeFile(): Promise<void> {
    clearTimeout(this.#fileTimer);
    const { options, config, own, backend } = this.#options;
    try {
      await writeSubnetFile(options.subnetFile, {
        networks: mapFamilies(config.families, ({ network }) => network),
        subnets: own.lease.subnets,
        mtuBytes: backend.mtuBytes(this.#follower.external),
        ipMasq: options.ipMasq,
      });
      if (this.#fileProblem !== undefined) this.#log.info("the subnet file is written");
      this.#fileProblem = undefined;
      this.#fileWritten.resolve();
    } catch (error) {
      const problem = `cannot write the subnet file ${options.subnetFile}: ${
        (error as Error).message
      }`;
      if (problem !== this.#fileProblem) this.#log.error(problem);
      this.#fileProblem = problem;
      if (this.#stopped) return;
      this.#fileTimer = setTimeout(() => void this.#writeFile(), FILE_RETRY_MS);
    }
  }

  async #readExcluded(external: ExternalInterface): Promise<void> {
    const { excluded } = this.#options;
    if (!await excluded.read(external) || this.#stopped) return;
    this.#projector.applyChanges(this.#table.setExcluded(excluded.addresses));
  }

  async #externalChanged(external: ExternalInterface): Promise<void> {
    this.#ownership = this.#options.backend.ownership(external);
    this.#reconciler.setScope({ ownership: this.#ownership, external: external.name });
    this.#projector.externalChanged(external);
    this.#advertiser.advertise(external.publicAddresses);
    if (!this.#isSetUp) return;
    this.#tellTarget();
    await this.#writeFile();
  }

  #tellTarget(): void {
    const { external } = this.#follower;
    this.#options.backend.target?.externalChanged({ own: this.#options.own.lease, external });
  }
}
