/**
 * What a backend is: options, one effect before the lease (`prepare`), and pure functions from
 * leases to kernel entries. A backend is one module and one line in the registry.
 */

import type { PerFamily } from "../addr/family.ts";
import type { Clock } from "../base/clock.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { ExternalInterface } from "../host/external_interface.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { WireguardSupport } from "../kernel/wireguard/wireguard_support.ts";
import type { XfrmStates } from "../kernel/xfrm/xfrm_states.ts";
import type { Ownership } from "../state/ownership.ts";
import type { Resource } from "../state/resource.ts";
import type { Log } from "../log/log.ts";
import type { Lease, LeaseAttributes } from "../subnet/lease.ts";
import type { DeviceIdentity } from "../subnet/lease_store.ts";
import type { BackendTarget } from "./backend_target.ts";
import type { NodeInput } from "./node_input.ts";

/** What a descriptor loads. */
export interface BackendModule {
  /**
   * Reads the options and warns of unknown ones. Throws `ConfigError` for a configuration that no host
   * could use. The registry has checked the network's address families.
   */
  checkConfig(config: NetworkConfig, log: Pick<Log, "warn">): void;
  /**
   * Checks the configuration and makes or adopts what the lease must advertise. Throws `ConfigError` for a
   * bad option and `BackendError` for what else the user must mend.
   */
  prepare(host: BackendHost): Promise<Backend>;
}

export interface BackendHost {
  readonly config: NetworkConfig;
  readonly external: ExternalInterface;
  readonly kernel: Kernel;
  /** Who can run WireGuard devices on this machine; `undefined` if nobody can. */
  readonly wireguardSupport: () => Promise<WireguardSupport | undefined>;
  /** Opens the security associations of the kernel; the caller disposes of them. */
  readonly openXfrmStates: () => XfrmStates;
  /** The lease this node held before, where the store still has it. */
  readonly previousLease: Lease | undefined;
  /** `length` random bytes. */
  random(length: number): Uint8Array;
  /** The process's environment. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Folder of the subnet file, /run/flannel by default: for what must outlive the process. May not exist. */
  readonly runDirectory: string;
  /** Aborted when the daemon ends. */
  readonly stop: AbortSignal;
  readonly clock: Clock;
  readonly log: Log;
}

/** A backend for one configuration. All but construction is pure. */
export interface Backend {
  readonly type: string;
  /** What the lease advertises. */
  readonly attributes: LeaseAttributes;
  /** Identifies this node's device among all nodes; absent if only its public address does. */
  readonly identity?: DeviceIdentity;
  /** Its device gets one route for the whole network, including unused subnets. */
  readonly routesNetwork?: true;
  /** Whether `peer` depends on `PeerReachability`; they cost a kernel look-up for each peer. */
  readonly needsReachability: boolean;
  /** What in the kernel belongs to this backend, present or stale. */
  ownership(external: ExternalInterface): Ownership;
  /** MTU for workloads, as FLANNEL_MTU gives it. */
  mtuBytes(external: ExternalInterface): number;
  /**
   * Why the overlay cannot be as it should over this interface, in one line with what to do;
   * `undefined` if it can. `prepare` refuses such an interface; one may become so later.
   */
  externalProblem?(external: ExternalInterface): string | undefined;
  /** The entries that do not depend on peers: devices and their addresses. */
  node(input: NodeInput): Resource[];
  /** The entries for one peer. Throws `InvalidPeerError` with the reason to ignore the peer. */
  peer(peer: Lease, input: NodeInput, reachability: PeerReachability): Resource[];
  /** What it keeps outside the kernel's tables. */
  readonly target?: BackendTarget;
  /**
   * Why some of a plausible peer's subnets cannot be reached at present, although `peer` gives no
   * entry for them: to be reported until the reachability changes. `undefined` if all can.
   */
  peerProblem?(peer: Lease, input: NodeInput, reachability: PeerReachability): string | undefined;
}

/** What the host knows about the way to a peer. */
export interface PeerReachability {
  /** For each family: the peer's public address is reached by the external interface, without a gateway. */
  readonly direct: PerFamily<boolean>;
  /** The way there in words, such as `via 192.168.0.1 dev eth0`. */
  readonly path: PerFamily<string>;
}

/** What is known of a peer that nobody asked the kernel about. */
export const UNKNOWN_REACHABILITY: PeerReachability = { direct: {}, path: {} };
