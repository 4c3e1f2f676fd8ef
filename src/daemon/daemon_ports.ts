/**
 * The daemon's ports: everything through which it reaches the kernel, the store, files, other
 * programs and time. `systemPorts` has the real ones.
 */

import type { PerFamily } from "../addr/family.ts";
import type { Clock } from "../base/clock.ts";
import type { DaemonOptions } from "../cli/daemon_options.ts";
import type { FirewallManager, FirewallOptions } from "../firewall/firewall.ts";
import type { HealthServer, HealthServerOptions } from "../health/health_server.ts";
import type { Notifier, NotifierOptions } from "../health/sd_notify.ts";
import type { HostDependencies, HostDependenciesOptions } from "../host/host_dependencies.ts";
import type { HostInterface } from "../host/host_interface.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Log } from "../log/log.ts";
import type { BackendHost } from "../overlay/backend.ts";
import type { LeaseStore } from "../subnet/lease_store.ts";
import type { PreviousSubnetFile, SubnetFile } from "../subnet/subnet_file.ts";
import type { ClaimOptions } from "../overlay/claim.ts";
import type { Readiness } from "./readiness.ts";
import type { StatusFacts } from "./status_facts.ts";

/** The ports of a node that has a lease. */
export interface NetworkPorts {
  readonly clock: Clock;
  readonly subnetFile: SubnetFilePort;
  /** Each caller owns the one that it opens. Throws `KernelError`. */
  openKernel(): Kernel;
  readInterfaces(): Promise<readonly HostInterface[]>;
  /** Reads a file below /proc/sys; `undefined` if there is none. */
  readSysctl(path: string): Promise<string | undefined>;
  createFirewallManager(options: FirewallOptions): Promise<FirewallManager>;
  /** Gives back memory that an idle daemon does not need. */
  releaseMemory(): void;
}

export interface DaemonPorts
  extends
    NetworkPorts,
    Pick<BackendHost, "wireguardSupport" | "openXfrmStates" | "random" | "env"> {
  /** Throws `NetworkError`. */
  requireNetworkPrivilege(): void;
  readHostDependencies(options: HostDependenciesOptions): Promise<HostDependencies>;
  /** Why iptables does not see bridged packets; `undefined` if it does. */
  bridgeNetfilterProblem(families: PerFamily<unknown>): string | undefined;
  /**
   * Waits until this node has joined its datastore. Throws `OperatorError` for options and
   * variables that cannot work, and the signal's reason.
   */
  openStore(options: OpenStoreOptions): Promise<OpenedStore>;
  createNotifier(options: NotifierOptions): Notifier;
  startHealthServer(options: HealthServerOptions): HealthServer;
  claimDevice(device: string, options: ClaimOptions): Promise<Disposable>;
  /** Throws `OperatorError`. */
  serveStatus(options: ServeStatusOptions): Promise<Disposable>;
}

export interface ServeStatusOptions {
  /** The path of the socket. */
  readonly path: string;
  readonly facts: StatusFacts;
  readonly clock: Clock;
  readonly log: Log;
}

export interface SubnetFilePort {
  /** Throws `SubnetFileError` if no file can ever be written there. */
  check(path: string): void;
  read(path: string, warn: (message: string) => void): PreviousSubnetFile;
  write(path: string, content: SubnetFile): Promise<void>;
}

export interface OpenStoreOptions {
  readonly options: DaemonOptions;
  /** The environment variables. */
  readonly env: BackendHost["env"];
  readonly kernel: Pick<Kernel, "routeTo">;
  readonly readiness: Pick<Readiness, "step">;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export type StoreKind = "etcd" | "datastore" | "kubernetes";

export interface OpenedStore {
  readonly kind: StoreKind;
  readonly store: LeaseStore;
  /** Where the network configuration is, for messages. */
  readonly configSource: string;
  /** URLs of its servers. */
  readonly endpoints: readonly string[];
  /** This host's addresses or routes may have changed. */
  readonly networkChanged: () => Promise<void>;
}
