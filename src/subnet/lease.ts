/** A node's subnet, as the store holds it. */

import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";

/**
 * Names the lease in its store. etcd: the part of the key after `<etcd prefix>/subnets/`, such as
 * `10.5.52.0-24&fc00:0:0:34::-64`. Kubernetes: `node/` and the node's name; the pod CIDRs of a node
 * that is created again may differ.
 */
export type LeaseKey = string & { readonly __leaseKey: true };

export interface Lease {
  readonly key: LeaseKey;
  readonly subnets: PerFamily<Prefix>;
  readonly attributes: LeaseAttributes;
  /**
   * When the lease was created, as a position on a scale of the store: the older of two overlapping
   * leases wins. A lease that is deleted and created again has another one.
   */
  readonly created: bigint;
  /** Its last change, on the same scale. */
  readonly changed: bigint;
}

/** The address by which a node is known: that of IPv4 if it has one; `undefined` if it has none. */
export function nodeAddressOf(
  { attributes: { publicAddresses } }: Pick<Lease, "attributes">,
): IpAddress | undefined {
  return publicAddresses[4] ?? publicAddresses[6];
}

/** What a node publishes to the others. */
export interface LeaseAttributes {
  readonly publicAddresses: PerFamily<IpAddress>;
  /** Empty for backends that need none (udp, alloc). */
  readonly backendType: string;
  /**
   * `BackendData` (IPv4) and `BackendV6Data`, as parsed JSON; the backend reads it with a schema.
   */
  readonly backendData: PerFamily<unknown>;
}

/** An event of the leases of all nodes. The first one is a snapshot. */
export type LeaseWatch =
  /** All leases as of `revision`, on the store's scale; any other lease no longer exists. */
  | {
    readonly kind: "snapshot";
    readonly leases: readonly Lease[];
    /** Leases that cannot be read, with the reason. They stay in the store. */
    readonly invalid: readonly InvalidLease[];
    readonly revision: bigint;
  }
  | { readonly kind: "put"; readonly lease: Lease }
  | { readonly kind: "invalid"; readonly invalid: InvalidLease }
  | { readonly kind: "delete"; readonly key: LeaseKey };

export interface InvalidLease {
  readonly key: LeaseKey;
  readonly reason: string;
  /** The bug, if this program failed to process it. */
  readonly fault?: Error;
}
