/** The list of leases as JSON, for programs. docs/operate.md describes it. */

import type { LeaseList, ListedLease } from "./lease_list.ts";

/** Raised when a member is removed or gets another meaning; new members do not change it. */
export const LEASE_LIST_VERSION = 1;

export function leaseListJson({ store, leases, notes }: LeaseList): string {
  const value = { version: LEASE_LIST_VERSION, store, notes, leases: leases.map(leaseJson) };
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** What is unknown or absent is null. */
function leaseJson(lease: ListedLease) {
  const { key, subnets, publicAddresses } = lease;
  return {
    key,
    subnet: subnets[4] ?? null,
    ipv6Subnet: subnets[6] ?? null,
    publicIP: publicAddresses[4] ?? null,
    publicIPv6: publicAddresses[6] ?? null,
    backend: lease.backend ?? null,
    kind: lease.kind,
    remainingSeconds: lease.remainingSeconds ?? null,
    host: lease.host ?? null,
    alive: lease.alive ?? null,
    ignored: lease.ignored ?? null,
  };
}
