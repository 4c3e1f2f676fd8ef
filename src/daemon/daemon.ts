/**
 * The daemon: its parts, the order in which they start, and what ends them.
 *
 * The start: configuration, interface, backend, lease; then rules and kernel entries, the subnet
 * file, and the other nodes' leases. A failure before the lease leaves the host as it was. The
 * end, by a signal or by an error, leaves devices, routes and rules in place: packets keep flowing.
 */

import { BACKENDS } from "../backend/backend_registry.ts";
import { whenAborted } from "../base/abort.ts";
import { type DaemonOptions, describeOptions } from "../cli/daemon_options.ts";
import { versionText } from "../cli/version.ts";
import { watchConfig } from "./config_watch.ts";
import type { DaemonPorts } from "./daemon_ports.ts";
import { joinNetwork } from "./join_network.ts";
import { Network } from "./network.ts";
import { Readiness } from "./readiness.ts";
import type { StatusFacts } from "./status_facts.ts";
import { StatusService } from "./status_service.ts";
import { waitForConfig } from "./wait_for_config.ts";
import { NetworkChanges } from "../host/network_changes.ts";
import type { Log } from "../log/log.ts";
import type { LeaseStore, OwnLease } from "../subnet/lease_store.ts";

export interface DaemonContext {
  readonly options: DaemonOptions;
  readonly ports: DaemonPorts;
  readonly log: Log;
  /** Aborted by SIGTERM and SIGINT. */
  readonly stop: AbortSignal;
}

const REFRESH_MS = 1000;

/** Runs until it is stopped or fails. Returns the exit status; throws `OperatorError`. */
export async function runDaemon(context: DaemonContext): Promise<number> {
  const { options, ports, stop } = context;
  const { clock } = ports;
  context.log.info(`starting flanneld ${versionText()}: ${describeOptions(options)}`);
  ports.requireNetworkPrivilege();
  ports.subnetFile.check(options.subnetFile);
  const notifier = ports.createNotifier({ log: context.log, clock });
  const readiness = new Readiness(notifier);
  const log = readiness.observe(context.log);
  // Aborted by `stop`, and when a part fails.
  const end = new AbortController();
  const signal = AbortSignal.any([stop, end.signal]);
  await using cleanup = new AsyncDisposableStack();
  cleanup.use(notifier.watchdog(() => true));
  cleanup.use(readiness.keepRefreshed(REFRESH_MS, clock));
  if (options.healthzPort > 0) {
    cleanup.use(ports.startHealthServer({
      ip: options.healthzIp,
      port: options.healthzPort,
      problems: () => readiness.problems(),
    }));
  }
  const facts: StatusFacts = { options, readiness, clock, startedMs: clock.wallMs() };
  const statusService = cleanup.use(
    new StatusService({ facts, open: ports.serveStatus, clock, log: context.log }),
  );
  stop.addEventListener("abort", () => notifier.stopping(), { once: true });
  try {
    const kernel = cleanup.use(ports.openKernel());
    const { env } = ports;
    const opened = await ports.openStore({ options, env, kernel, readiness, clock, log, signal });
    facts.opened = opened;
    const { configSource: source, networkChanged } = opened;
    const store = cleanup.use(opened.store);
    cleanup.use(new NetworkChanges({ kernel, onChanged: networkChanged, clock, log }));
    readiness.step(`reading the network configuration at ${source}`);
    const config = await waitForConfig({ store, source, readiness, clock, log }, signal);
    facts.config = config;
    const descriptor = BACKENDS.forNetwork(config);
    const { type, soleDevice } = descriptor;
    if (soleDevice !== undefined) {
      readiness.step(`claiming the device ${soleDevice}`);
      const claim = { log: log.child({ component: type }), clock, stop: signal };
      cleanup.use(await ports.claimDevice(soleDevice, claim));
    }
    const parts = { options, config, kernel, store, ports, readiness, log };
    const { endpoints: storeEndpoints } = opened;
    const node = await joinNetwork({ ...parts, descriptor, storeEndpoints }, signal);
    cleanup.use(node.own);
    facts.reasons = node.reasons;
    const onNetwork = (network: Network) => facts.network = network;
    const network = cleanup.use(await Network.start({ ...parts, ...node, onNetwork }, signal));
    const { own } = node;
    const running = { network, own, store, source, readiness, statusService, log, signal, end };
    return await runNode(running);
  } catch (error) {
    if (stop.aborted) return 0;
    throw error;
  } finally {
    end.abort(new Error("the daemon is stopping"));
  }
}

interface RunningNode {
  readonly network: Network;
  readonly own: OwnLease;
  readonly store: LeaseStore;
  /** Where the network configuration is, for messages. */
  readonly source: string;
  readonly readiness: Readiness;
  readonly statusService: StatusService;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Aborts `signal`. */
  readonly end: AbortController;
}

/** Until a signal, or until the subnet is lost. Returns the exit status. */
async function runNode(node: RunningNode): Promise<number> {
  const { network, own, store, source, readiness, statusService, log, signal, end } = node;
  readiness.step(`waiting for the other nodes' leases from ${store.description}`);
  const stopped = whenAborted(signal).then(() => 0);
  const tasks = [
    network.followLeases(signal, () => {
      readiness.ready(() => network.summary());
      log.info(`ready; ${network.summary()}`);
      statusService.open();
    }),
    watchConfig({ store, source, log }, signal),
  ];
  try {
    return await Promise.race([
      stopped,
      own.lost.then((reason) => {
        log.error(`this node has lost its subnet: ${reason}`);
        return 1;
      }),
      // A task ends only when it fails, or by the signal.
      ...tasks.map((task) => task.then(() => stopped)),
    ]);
  } finally {
    end.abort(new Error("the daemon is stopping"));
    await Promise.allSettled(tasks);
  }
}
