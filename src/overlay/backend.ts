/**
 * What a backend is: options, one effect before the lease (`prepare`), and pure functions from
 * leases to kernel entries. What is known of it without loading it is its descriptor.
 */

import type { PerFamily } from "../addr/family.ts";
import type { Clock } from "../base/clock.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { OptionSchema } from "../config/option_schema.ts";
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
   * Reads the options and warns of unknown ones. Throws `ConfigError` for a configuration that no
   * host could use. The registry has checked the network's address families.
   */
  checkConfig(config: NetworkConfig, log: Pick<Log, "warn">): void;
  /** Each option, with its default. */
  readonly options: OptionSchema;
  /** As `Backend.mtuBytes`, of a configuration that `checkConfig` accepts. */
  mtuBytes(config: NetworkConfig, external: Pick<ExternalInterface, "mtuBytes">): number;
  /**
   * Checks the configuration and creates or adopts what the lease advertises, such as a key. Throws
   * `ConfigError` for an invalid option and `BackendError` for any other problem that the user must
   * fix.
   */
  prepare(host: BackendHost): Promise<Backend>;
}

export interface BackendHost {
  readonly config: NetworkConfig;
  readonly external: ExternalInterface;
  readonly kernel: Kernel;
  /** What can run WireGuard devices on this machine; `undefined` if nothing can. */
  readonly wireguardSupport: () => Promise<WireguardSupport | undefined>;
  /** Opens the security associations of the kernel; the caller disposes of them. */
  readonly openXfrmStates: () => XfrmStates;
  /** This node's previous lease, if the store still has it. */
  readonly previousLease: Lease | undefined;
  /** Returns `length` random bytes. */
  random(length: number): Uint8Array;
  /** Environment of the process. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * The subnet file's directory, /run/flannel by default, for state that must outlive the process.
   * May not exist yet.
   */
  readonly runDirectory: string;
  /** Aborted when the daemon ends. */
  readonly stop: AbortSignal;
  readonly clock: Clock;
  readonly log: Log;
}

/** A backend with its configuration. Its functions are pure. */
export interface Backend {
  readonly type: string;
  /** What this node's lease advertises. */
  readonly attributes: LeaseAttributes;
  /** What distinguishes this node's device from those of all others, besides its public address. */
  readonly identity?: DeviceIdentity;
  /** Its device has one route for the whole network, including unused subnets. */
  readonly routesNetwork?: true;
  /** Whether `peer` uses the reachability, which costs a kernel look-up for each peer. */
  readonly needsReachability: boolean;
  /** It never encapsulates packets, whatever the reachability of a peer. */
  readonly isDirect?: true;
  /** Which kernel entries belong to this backend, current or stale. */
  ownership(external: ExternalInterface): Ownership;
  /** MTU for workloads, published as FLANNEL_MTU. */
  mtuBytes(external: ExternalInterface): number;
  /**
   * Why the overlay cannot work over this interface, in one line with what to do; `undefined` if it
   * can. `prepare` rejects such an interface, but one may become unsuitable later.
   */
  externalProblem?(external: ExternalInterface): string | undefined;
  /** Entries that do not depend on peers: devices and their addresses. */
  node(input: NodeInput): Resource[];
  /** Entries for one peer. Throws `InvalidPeerError` with the reason to ignore the peer. */
  peer(peer: Lease, input: NodeInput, reachability: PeerReachability): Resource[];
  /** Keeps the state that is outside of the kernel's tables, if the backend has any. */
  readonly target?: BackendTarget;
  /**
   * Why some subnets of a valid peer, for which `peer` therefore returns no entries, cannot be
   * reached at present; `undefined` if all can. Reported until the reachability changes.
   */
  peerProblem?(peer: Lease, input: NodeInput, reachability: PeerReachability): string | undefined;
}

/** How this host reaches a peer's public addresses. */
export interface PeerReachability {
  /** True if the external interface reaches the address without a gateway. */
  readonly direct: PerFamily<boolean>;
  /** The route as text, such as `via 192.168.0.1 dev eth0`. */
  readonly path: PerFamily<string>;
}

/** For a backend that does not need the reachability: the kernel was not asked. */
export const UNKNOWN_REACHABILITY: PeerReachability = { direct: {}, path: {} };
