/** A node's subnet as the datastore holds it. */

import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { Prefix } from "../addr/prefix.ts";

/** The part of the key after `<etcd prefix>/subnets/`, such as `10.5.52.0-24&fc00:0:0:34::-64`. */
export type LeaseKey = string & { readonly __leaseKey: true };

export interface Lease {
  readonly key: LeaseKey;
  readonly subnets: PerFamily<Prefix>;
  readonly attributes: LeaseAttributes;
  /** Datastore revision of the key's creation: the older of two conflicting leases wins. */
  readonly createRevision: bigint;
  /** Datastore revision of the last change. */
  readonly modRevision: bigint;
}

/** What a node tells the others. */
export interface LeaseAttributes {
  readonly publicAddresses: PerFamily<IpAddress>;
  /** Empty for backends that need none (udp, alloc). */
  readonly backendType: string;
  /** `BackendData` (IPv4) and `BackendV6Data`, as parsed JSON; each backend reads it with a schema. */
  readonly backendData: PerFamily<unknown>;
}

/** What a store reports of everybody's leases. The first event is a snapshot. */
export type LeaseWatch =
  /** All of them, as of `revision`: what is not in it is gone. */
  | {
    readonly kind: "snapshot";
    readonly leases: readonly Lease[];
    /** Entries that could not be read, with the reason; the entries stay in the store. */
    readonly invalid: readonly InvalidLease[];
    readonly revision: bigint;
  }
  | { readonly kind: "put"; readonly lease: Lease }
  | { readonly kind: "invalid"; readonly invalid: InvalidLease }
  | { readonly kind: "delete"; readonly key: LeaseKey };

export interface InvalidLease {
  readonly key: LeaseKey;
  readonly reason: string;
  /** Present if this program failed to process it. */
  readonly fault?: Error;
}
