/** The port to the datastore that holds the network's configuration and every node's subnet. */

import type { NetworkConfig } from "../config/network_config.ts";
import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { ExcludedAddress } from "../addr/excluded_address.ts";
import type { Prefix } from "../addr/prefix.ts";
import type { Lease, LeaseAttributes, LeaseWatch } from "./lease.ts";

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
  previousLease(request: LeaseLookup, signal: AbortSignal): Promise<Lease | undefined>;

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
   * Whether the node with this public address is alive: at once, and at each change, until aborted. Ends
   * without an answer where this node may not see that.
   */
  watchAlive(address: IpAddress, signal: AbortSignal): AsyncIterable<boolean>;
}

export interface LeaseLookup {
  readonly config: NetworkConfig;
  readonly publicAddresses: LeaseAttributes["publicAddresses"];
}

export interface LeaseRequest {
  readonly config: NetworkConfig;
  readonly attributes: LeaseAttributes;
  /** Subnets of the subnet file: taken if they are free and fit the configuration. */
  readonly previousSubnets: PerFamily<Prefix>;
  /** What this host needs outside of the overlay: a subnet that holds one is not taken. */
  readonly excluded?: readonly ExcludedAddress[];
  /** A lease that carries it is this node's, whatever address it names, unless that node is alive. */
  readonly identity?: DeviceIdentity;
}

/** What tells this node's device from every other one, as leases name it: a MAC address, a key. */
export interface DeviceIdentity {
  /** As leases spell it: one that contains none of these texts does not carry it. */
  readonly texts: readonly string[];
  /** What of it a lease carries, such as `VtepMAC 02:…`; `undefined` for nothing. */
  matchIn(attributes: LeaseAttributes): string | undefined;
  /** How a host that is a copy of another one gets its own, such as `delete the device flannel.1`. */
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
  /** Writes changed attributes (public address, backend data) under the same key. */
  update(attributes: LeaseAttributes, signal: AbortSignal): Promise<void>;
}

/** The store cannot be reached or refused the call. */
export class StoreError extends Error {
  override readonly name: string = "StoreError";
}

/** Every subnet between SubnetMin and SubnetMax is taken. */
export class OutOfSubnetsError extends StoreError {
  override readonly name = "OutOfSubnetsError";
}

/** Another live node has the public address of this one, or what tells this one's device from others. */
export class DuplicateNodeError extends StoreError {
  override readonly name = "DuplicateNodeError";
}
