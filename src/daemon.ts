/**
 * Wiring: the parts of the daemon, the order in which they start, and what ends them.
 *
 * Start: configuration, interface, backend, lease, then rules and kernel entries, the subnet file,
 * and the other nodes' leases. Whatever fails before the lease leaves the machine as it was. The end,
 * by a signal or by an error, leaves devices, routes and rules in place: traffic goes on.
 */

import { dirname, resolve } from "node:path";
import { familiesOf } from "./addr/family.ts";
import type { Family } from "./addr/ip.ts";
import type { Prefix } from "./addr/prefix.ts";
import type { Backend } from "./overlay/backend.ts";
import type { BackendDescriptor } from "./overlay/backend_descriptor.ts";
import type { ExternalInterface } from "./host/external_interface.ts";
import { BACKENDS } from "./backend/backend_registry.ts";
import { type DaemonOptions, describeOptions, givenAddresses } from "./cli/daemon_options.ts";
import { versionText } from "./cli/version.ts";
import { ConfigError } from "./config/config_error.ts";
import {
  type FamilyNetwork,
  type NetworkConfig,
  parseNetworkConfig,
} from "./config/network_config.ts";
import { claimDevice } from "./daemon/device_claim.ts";
import { ExcludedAddresses } from "./host/excluded_addresses.ts";
import { Network } from "./daemon/network.ts";
import { NetworkChanges } from "./host/network_changes.ts";
import { etcdHostNetwork } from "./daemon/etcd_host_network.ts";
import { requireNetworkPrivilege } from "./daemon/network_privilege.ts";
import { Readiness } from "./daemon/readiness.ts";
import { openStore } from "./daemon/open_store.ts";
import { waitForConfig } from "./daemon/wait_for_config.ts";
import { createNotifier } from "./health/sd_notify.ts";
import { startHealthServer } from "./health/health_server.ts";
import { readInterfaces, readSelectionInput } from "./host/interface_reader.ts";
import { readHostDependencies } from "./host/host_dependencies.ts";
import { publicAddressProblem, publicAddressWarnings } from "./host/public_address.ts";
import { InterfaceSelectionError, selectInterface } from "./host/interface_selection.ts";
import type { HostInterface } from "./host/host_interface.ts";
import { networkProblem } from "./host/network_overlap.ts";
import type { Log } from "./log/log.ts";
import { NetlinkKernel } from "./kernel/netlink_kernel.ts";
import { readSysctl } from "./kernel/sysctl/proc_sys.ts";
import { wireguardSupport } from "./kernel/wireguard/wireguard_support.ts";
import { openXfrmStates } from "./kernel/xfrm/xfrm_states.ts";
import type { LeaseStore, OwnLease } from "./subnet/lease_store.ts";
import { checkSubnetFile, readSubnetFile } from "./subnet/subnet_file.ts";
import { systemClock } from "./base/clock.ts";
import { bridgeNetfilterProblem, FirewallError } from "./firewall/firewall.ts";

export interface DaemonContext {
  readonly options: DaemonOptions;
  readonly log: Log;
  /** Aborted by SIGTERM and SIGINT. */
  readonly stop: AbortSignal;
}

const REFRESH_MS = 1000;

/** Runs until stopped or until it cannot go on. Returns the exit status; throws what is for the user to mend. */
export async function runDaemon(context: DaemonContext): Promise<number> {
  const { options, stop } = context;
  context.log.info(`flanneld ${versionText()} starts: ${describeOptions(options)}`);
  requireNetworkPrivilege();
  checkSubnetFile(options.subnetFile);
  const notifier = createNotifier({ log: context.log, clock: systemClock });
  const progress = new Readiness(notifier);
  const log = progress.observe(context.log);
  // Aborted by `stop`, and by the first part that cannot go on.
  const end = new AbortController();
  const signal = AbortSignal.any([stop, end.signal]);
  await using cleanup = new AsyncDisposableStack();
  cleanup.use(notifier.watchdog(() => true));
  cleanup.use(progress.keepRefreshed(REFRESH_MS));
  if (options.healthzPort > 0) {
    cleanup.use(startHealthServer({
      ip: options.healthzIp,
      port: options.healthzPort,
      problems: () => progress.problems(),
    }));
  }
  stop.addEventListener("abort", () => notifier.stopping(), { once: true });
  try {
    const kernel = cleanup.use(new NetlinkKernel());
    const { store, configSource, networkChanged } = openStore(
      options,
      etcdHostNetwork({ kernel, readInterfaces }),
      log,
    );
    cleanup.use(store);
    const changes = { kernel, onChanged: networkChanged, clock: systemClock, log };
    cleanup.use(new NetworkChanges(changes));
    progress.step(`waiting for ${store.description}`);
    const config = await waitForConfig({ store, source: configSource, progress, log }, signal);
    const descriptor = BACKENDS.forNetwork(config);
    const { type, soleDevice } = descriptor;
    if (soleDevice !== undefined) {
      const claim = { log: log.child({ component: type }), clock: systemClock, stop: signal };
      progress.step(`making sure that no other flanneld has the device ${soleDevice}`);
      cleanup.use(await claimDevice(soleDevice, claim));
    }
    const context = { options, config, descriptor, kernel, store, progress, log };
    const node = await joinNetwork(context, signal);
    cleanup.use(node.own);
    const network = cleanup.use(
      await Network.start({ options, config, kernel, store, progress, log, ...node }, signal),
    );
    return await runNetwork(
      { network, own: node.own, store, configSource, progress, log },
      { signal, end },
    );
  } catch (error) {
    if (stop.aborted) return 0;
    throw error;
  } finally {
    end.abort(new Error("the daemon ends"));
  }
}

interface JoinContext {
  readonly options: DaemonOptions;
  readonly config: NetworkConfig;
  readonly descriptor: BackendDescriptor;
  readonly kernel: NetlinkKernel;
  readonly store: LeaseStore;
  readonly progress: Readiness;
  readonly log: Log;
}

interface Node {
  readonly external: ExternalInterface;
  readonly backend: Backend;
  readonly own: OwnLease;
  readonly excluded: ExcludedAddresses;
  readonly formerNetworks: readonly Prefix[];
}

/** From the configuration to a lease. */
async function joinNetwork(context: JoinContext, signal: AbortSignal): Promise<Node> {
  const { options, config, descriptor, kernel, store, progress, log } = context;
  if (!config.enableNftables) {
    const problem = bridgeNetfilterProblem(config.families);
    if (problem !== undefined) throw new FirewallError(problem);
  }
  progress.step("choosing the external interface");
  const { external, interfaces } = await chooseInterface(context);
  await warnAboutForwarding(familiesOf(config.families), log);
  const previous = readSubnetFile(options.subnetFile, (message) => log.warn(message));
  progress.step(`looking for this node's lease in ${store.description}`);
  const { publicAddresses } = external;
  const previousLease = await store.previousLease({ config, publicAddresses }, signal);
  const excluded = new ExcludedAddresses({
    families: config.families,
    read: () =>
      readHostDependencies({ kernel, endpoints: options.etcdEndpoints, clock: systemClock }),
    ownSubnets: [previous.subnets, previousLease?.subnets ?? {}].flatMap((subnets) =>
      Object.values(subnets) as Prefix[]
    ),
  });
  await excluded.read(external);
  for (const warning of excluded.warnings(interfaces)) log.warn(warning);
  const backendLog = log.child({ component: descriptor.type });
  progress.step(`preparing the ${descriptor.type} backend`);
  const module = await descriptor.load();
  const backend = await module.prepare({
    config,
    external,
    kernel,
    wireguardSupport,
    openXfrmStates,
    previousLease,
    random: (length) => crypto.getRandomValues(new Uint8Array(length)),
    env: process.env,
    runDirectory: dirname(resolve(options.subnetFile)),
    stop: signal,
    log: backendLog,
  });
  if (backend.routesNetwork) {
    const problem = excluded.routeProblem(interfaces, await kernel.dump(["route"]));
    if (problem !== undefined) throw new ConfigError(problem);
  }
  const { attributes, identity } = backend;
  const request = {
    config,
    attributes,
    previousSubnets: previous.subnets,
    excluded: excluded.addresses,
    ...(identity && { identity }),
  };
  progress.step(`taking a subnet in ${store.description}`);
  const own = await store.acquire(request, signal);
  excluded.addOwnSubnets(Object.values(own.lease.subnets), external);
  const formerNetworks = [previous.networks, previous.subnets].flatMap((prefixes) =>
    Object.values(prefixes) as Prefix[]
  );
  return { external, backend, own, excluded, formerNetworks };
}

async function chooseInterface(
  { options, config, kernel, log }: JoinContext,
): Promise<{ external: ExternalInterface; interfaces: readonly HostInterface[] }> {
  const given = givenAddresses(options);
  const facts = await readSelectionInput({ kernel, canReach: options.interfaceCanReach });
  const { external, reasons } = selectInterface(facts, {
    families: familiesOf(config.families),
    interfaces: options.interfaces,
    patterns: options.interfacePatterns,
    canReach: options.interfaceCanReach,
    publicAddresses: given,
    networks: familiesOf(config.families).map((family) =>
      (config.families[family] as FamilyNetwork).network
    ),
  });
  const { interfaces } = facts;
  const { families } = config;
  const problem = publicAddressProblem(external, { interfaces, given, families });
  const covered = networkProblem(families, external);
  // The address of one of the overlay's own devices is always in the network.
  const isOwnDevice = problem !== undefined && BACKENDS.isDeviceName(external.name);
  if (covered !== undefined && !isOwnDevice) throw new ConfigError(covered);
  if (problem !== undefined) throw new InterfaceSelectionError(problem);
  for (const reason of reasons) log.info(reason);
  for (const warning of publicAddressWarnings(external)) log.warn(warning);
  return { external, interfaces };
}

const FORWARDING: Readonly<Record<Family, string>> = {
  4: "net/ipv4/ip_forward",
  6: "net/ipv6/conf/all/forwarding",
};

/** The setting is the machine's, so it is not changed; without it, nothing reaches a workload. */
async function warnAboutForwarding(families: readonly Family[], log: Log): Promise<void> {
  for (const family of families) {
    const path = FORWARDING[family];
    if (await readSysctl(path).catch(() => undefined) !== "0") continue;
    const name = path.replaceAll("/", ".");
    log.warn(
      `this host does not forward IPv${family} packets, so that none reaches a workload; ` +
        `run "sysctl -w ${name}=1"`,
    );
  }
}

interface RunContext {
  readonly network: Network;
  readonly own: OwnLease;
  readonly store: LeaseStore;
  readonly configSource: string;
  readonly progress: Readiness;
  readonly log: Log;
}

/** The main loop: until a signal, or until the subnet is lost. */
async function runNetwork(
  context: RunContext,
  { signal, end }: { signal: AbortSignal; end: AbortController },
): Promise<number> {
  const { network, own, store, progress, log } = context;
  progress.step(`waiting for the other nodes' leases from ${store.description}`);
  const stopped = Promise.withResolvers<number>();
  signal.addEventListener("abort", () => stopped.resolve(0), { once: true });
  if (signal.aborted) stopped.resolve(0);
  const tasks = [
    network.followLeases(signal, () => {
      progress.ready(() => network.summary());
      log.info(`ready; ${network.summary()}`);
    }),
    reportConfigChanges(context, signal),
  ];
  try {
    return await Promise.race([
      stopped.promise,
      own.lost.then((reason) => {
        log.error(`this node has lost its subnet: ${reason}`);
        return 1;
      }),
      // A task ends only when it fails, or by the signal.
      ...tasks.map((task) => task.then(() => stopped.promise)),
    ]);
  } finally {
    end.abort(new Error("the daemon ends"));
    await Promise.allSettled(tasks);
  }
}

/** The network stays as it was started: a changed one would take the workloads' addresses away. */
async function reportConfigChanges(
  { store, configSource, log }: RunContext,
  signal: AbortSignal,
): Promise<void> {
  for await (const text of store.watchNetworkConfig(signal)) {
    if (text === undefined) {
      log.warn(`the network configuration at ${configSource} is gone; this node goes on as it is`);
      continue;
    }
    try {
      parseNetworkConfig(text, { source: configSource, warn: () => undefined });
      log.warn(
        "the network configuration has changed; this node goes on with the one that it started " +
          "with, and takes the new one when it is restarted",
      );
    } catch (error) {
      // Of any kind: a text in etcd must not end a running node.
      log.warn(
        `the network configuration has changed and cannot be used: ${(error as Error).message}`,
      );
    }
  }
}
