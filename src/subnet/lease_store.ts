/** The port to the datastore that holds the network's configuration and every node's subnet. */

import { OperatorError } from "../base/operator_error.ts";
import type { NetworkConfig } from "../config/network_config.ts";
import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { ExcludedAddress } from "../addr/excluded_address.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Lease, LeaseAttributes, LeaseKey, LeaseWatch } from "./lease.ts";

export interface LeaseStore extends AsyncDisposable {
  /** Where the data is, for messages; without credentials. */
  readonly description: string;

  /** The network configuration's JSON text; `undefined` while there is none. Throws `StoreError`. */
  networkConfig(signal: AbortSignal): Promise<string | undefined>;

  /** Yields the configuration's text each time it changes after the call (`undefined`: removed). */
  watchNetworkConfig(signal: AbortSignal): AsyncIterable<string | undefined>;

  /**
   * The lease this node would take over, found by its public address, before `acquire`: the place
   * where a vxlan MAC survives the loss of its device. `undefined` if there is none.
   */
  previousLease(request: LeaseQuery, signal: AbortSignal): Promise<Lease | undefined>;

  /**
   * Takes or re-takes a subnet. Throws `OutOfSubnetsError`, `DuplicateNodeError`, or `StoreError`
   * for an outage that lasts longer than the store's own retries.
   */
  acquire(request: LeaseRequest, signal: AbortSignal): Promise<OwnLease>;

  /**
   * Every node's lease, our own among them, until aborted: a snapshot, then changes; a new snapshot
   * after anything that may have lost a change. Outages are survived inside and reported to the log.
   */
  watchLeases(signal: AbortSignal): AsyncIterable<LeaseWatch>;

  /**
   * Yields whether the node with this public address is alive: at once, and at each change, until
   * aborted. Ends without a value if this node has no permission to read that.
   */
  watchAlive(address: IpAddress, signal: AbortSignal): AsyncIterable<boolean>;
}

export interface LeaseQuery {
  readonly config: NetworkConfig;
  readonly publicAddresses: LeaseAttributes["publicAddresses"];
}

export interface LeaseRequest {
  readonly config: NetworkConfig;
  readonly attributes: LeaseAttributes;
  /** Subnets of the subnet file: taken if they are free and fit the configuration. */
  readonly previousSubnets: PerFamily<Prefix>;
  /** Addresses that this host uses outside of the overlay: a subnet that contains one is not taken. */
  readonly excluded?: readonly ExcludedAddress[];
  /** A lease with this identity is this node's, whatever its public address, unless that node is alive. */
  readonly identity?: DeviceIdentity;
}

/** Identifies this node's device among all nodes, as in leases: a MAC address or a key. */
export interface DeviceIdentity {
  /** Its spelling in leases: a lease that contains none of these texts has another identity. */
  readonly texts: readonly string[];
  /** The part of it that a lease contains, such as `VtepMAC 02:…`; `undefined` if there is none. */
  matchIn(attributes: LeaseAttributes): string | undefined;
  /** How to give a copied host its own identity, such as `delete the device flannel.1`. */
  readonly remedy: string;
}

/** The subnet this node holds. Disposing stops renewal and leaves the key in the store. */
export interface OwnLease extends AsyncDisposable {
  readonly lease: Lease;
  /**
   * Resolves when the subnet is lost for good: it belongs to another node now, with the reason. A
   * deleted key is put back first; an outage is waited out.
   */
  readonly lost: Promise<string>;
  /** Why the other nodes do not see this node as it is: its lease says something else. */
  readonly problem?: string | undefined;
  /** Writes changed attributes (public address, backend data) under the same key. */
  update(attributes: LeaseAttributes, signal: AbortSignal): Promise<void>;
}

/** The store cannot be reached or refused the call; `cause` is its client's error. */
export class StoreError extends OperatorError {
  override readonly name: string = "StoreError";
}

/** Every subnet between SubnetMin and SubnetMax is taken. */
export class OutOfSubnetsError extends StoreError {
  override readonly name = "OutOfSubnetsError";
  /** How many leases there are. */
  readonly leases: number;

  constructor(message: string, { leases }: { readonly leases: number }) {
    super(message);
    this.leases = leases;
  }
}

/** A node that is alive, as its session describes it. */
export interface LiveHolder {
  readonly hostname: string;
  readonly interface: string;
}

/** Another live node has the public address or the device identity of this one. */
export class DuplicateNodeError extends StoreError {
  override readonly name = "DuplicateNodeError";
  /** The public address of the other node. */
  readonly publicAddress: IpAddress;
  readonly holder: LiveHolder;
  /** The other node's lease, where that has this node's device identity. */
  readonly lease: LeaseKey | undefined;

  constructor(
    message: string,
    fields: {
      readonly publicAddress: IpAddress;
      readonly holder: LiveHolder;
      readonly lease?: LeaseKey;
    },
  ) {
    super(message);
    this.publicAddress = fields.publicAddress;
    this.holder = fields.holder;
    this.lease = fields.lease;
  }
}
