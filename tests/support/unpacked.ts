import type { Lease } from "../../src/subnet/lease.ts";
import type { LeaseChange } from "../../src/subnet/lease_table.ts";

/** The lease as a plain object, to compare it with one. */
export function unpacked({ key, subnets, attributes, created, changed }: Lease): Lease {
  return { key, subnets, attributes, created, changed };
}

export function unpackedChanges(changes: readonly LeaseChange[]): LeaseChange[] {
  return changes.map((change) => {
    const lease = unpacked(change.lease);
    if (change.kind === "delete" || change.previous === undefined) return { ...change, lease };
    return { ...change, lease, previous: unpacked(change.previous) };
  });
}
