/** Why this node cannot have a subnet in etcd, where the nodes choose their subnets themselves. */

import type { IpAddress } from "../../addr/ip.ts";
import type { LeaseKey } from "../lease.ts";
import { StoreError } from "../lease_store.ts";

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
