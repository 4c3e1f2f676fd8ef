/**
 * The port to the store that holds the network's configuration and every node's lease.
 *
 * The daemon knows a store only by this file. `subnet/etcd` implements it with etcd, where the
 * nodes choose their subnets; `subnet/kube` with the Kubernetes API, which assigns them: there a
 * lease is a Node, with its pod CIDRs as subnets and its annotations as attributes. A store
 * retries by itself what an outage interrupts, and reports it to its log; it throws only where a
 * method says so.
 */

import { OperatorError } from "../base/operator_error.ts";
import type { NetworkConfig, SubnetAllocation } from "../config/network_config.ts";
import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { ExcludedAddress } from "../addr/excluded_address.ts";
import type { GivenAddress } from "../addr/given_address.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Lease, LeaseAttributes, LeaseWatch } from "./lease.ts";

export interface LeaseStore extends AsyncDisposable {
  /** Where the store is, for messages; without credentials. */
  readonly description: string;

  /** Who chooses the nodes' subnets; the configuration and the leases are checked accordingly. */
  readonly allocation: SubnetAllocation;

  /** The server that is used now; `undefined` if it is not connected, or if that is not known. */
  readonly connection?: StoreConnection | undefined;

  /**
   * The JSON text of the network configuration; `undefined` while there is none. The only method
   * that does not retry: throws `StoreError`.
   */
  networkConfig(signal: AbortSignal): Promise<string | undefined>;

  /**
   * Yields the text each time it differs from what `networkConfig` returned or this yielded before;
   * `undefined` if it was deleted.
   */
  watchNetworkConfig(signal: AbortSignal): AsyncIterable<string | undefined>;

  /**
   * The public addresses that the store prescribes for this node, before its interface is chosen:
   * annotations of the node, which act like `--public-ip` and take precedence over it.
   */
  prescribedAddresses(
    config: NetworkConfig,
    signal: AbortSignal,
  ): Promise<PerFamily<GivenAddress>>;

  /**
   * The lease that this node would keep, before `acquire`: a vxlan MAC address survives there when
   * its device is lost. `undefined` if there is none. Throws `StoreError` if another live node has
   * it.
   */
  previousLease(request: LeaseQuery, signal: AbortSignal): Promise<Lease | undefined>;

  /**
   * Keeps a subnet of this node or takes a free one, and writes its lease. Where the store assigns
   * the subnets, as Kubernetes does, it waits for that. Throws `StoreError` if this node cannot
   * have a subnet.
   */
  acquire(request: LeaseRequest, signal: AbortSignal): Promise<OwnLease>;

  /**
   * Every node's lease, this node's among them, until aborted: a snapshot, then changes, and a new
   * snapshot whenever changes may have been missed. Called once, after `acquire`: with Kubernetes,
   * that is also how a store notices that the own lease was changed by others.
   */
  watchLeases(signal: AbortSignal): AsyncIterable<LeaseWatch>;

  /**
   * Yields whether the node with this public address is alive: at once, and at each change, until
   * aborted. Ends without a value if the store cannot determine it, for example without
   * permission. Called while `watchLeases` runs.
   */
  watchAlive(address: IpAddress, signal: AbortSignal): AsyncIterable<boolean>;
}

export interface StoreConnection {
  /** Its URL, without credentials. */
  readonly endpoint: string;
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
}

export interface LeaseQuery {
  readonly config: NetworkConfig;
  readonly publicAddresses: LeaseAttributes["publicAddresses"];
}

export interface LeaseRequest {
  readonly config: NetworkConfig;
  readonly attributes: LeaseAttributes;
  /** The subnets in the subnet file: taken if they are free and fit the configuration. */
  readonly previousSubnets: PerFamily<Prefix>;
  /**
   * Addresses that this host uses outside of the overlay; a subnet that contains one is not
   * taken.
   */
  readonly excluded?: readonly ExcludedAddress[];
  /** A lease with this identity is this node's, whatever its address, unless that node is alive. */
  readonly identity?: DeviceIdentity;
}

/**
 * What identifies this node's device in its lease among those of all nodes: a MAC address or a
 * key.
 */
export interface DeviceIdentity {
  /** Its spellings in leases: a lease that contains none of these texts has another identity. */
  readonly texts: readonly string[];
  /** The part of it in a lease, such as `VtepMAC 02:…`; `undefined` if the lease has none. */
  matchIn(attributes: LeaseAttributes): string | undefined;
  /** How to give a copied host its own identity, such as `delete the device flannel.1`. */
  readonly remedy: string;
}

/** The subnet this node holds. Disposing stops renewal and leaves the lease in the store. */
export interface OwnLease extends AsyncDisposable {
  readonly lease: Lease;
  /**
   * Resolves with the reason when the subnet belongs to another node. A deleted lease is
   * restored, and an outage is waited for. Rejects for a bug.
   */
  readonly lost: Promise<string>;
  /**
   * Why the other nodes use wrong values of this node, or this one wrong values of them: another
   * process changed its lease, or the store refuses to report changes.
   */
  readonly problem?: string | undefined;
  /** Until it expires, unless it is renewed; Infinity for one that does not expire. */
  readonly remainingMs?: number;
  /** Writes changed attributes (public address, backend data) to the same lease. */
  update(attributes: LeaseAttributes, signal: AbortSignal): Promise<void>;
  /**
   * Workloads can be attached to this node's network, and reach those of the other nodes. Returns
   * at once; if the store has a place for that, it is written there, and retried until it succeeds.
   */
  networkReady(): void;
}

/** The store cannot be reached or refused the call; `cause` is its client's error. */
export class StoreError extends OperatorError {
  override readonly name: string = "StoreError";
}
