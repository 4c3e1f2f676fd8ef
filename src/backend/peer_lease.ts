/** Reads what another node's lease says; what does not make sense is an `ImplausibleLeaseError`. */

import type { Family, IpAddress } from "../addr/ip.ts";
import type { Lease } from "../subnet/lease.ts";
import { ImplausibleLeaseError } from "./backend.ts";

/** Refuses a lease of another backend. Neither side can read the other's packets. */
export function requireBackendType(peer: Lease, type: string): void {
  const found = peer.attributes.backendType;
  if (found !== type) {
    throw new ImplausibleLeaseError(
      `its backend is ${found === "" ? "not named" : found}, this node's is ${type}`,
    );
  }
}

/** The address to which packets for this family's subnet go. */
export function peerAddress(peer: Lease, family: Family): IpAddress {
  const address = peer.attributes.publicAddresses[family];
  if (address === undefined) {
    throw new ImplausibleLeaseError(
      `it has the subnet ${peer.subnets[family]} but no public IPv${family} address`,
    );
  }
  return address;
}

/** The member of a JSON object with this name in any case, as Go's decoder reads it. */
export function jsonMember(data: unknown, name: string): unknown {
  if (typeof data !== "object" || data === null) return undefined;
  const members = data as Record<string, unknown>;
  if (name in members) return members[name];
  const key = Object.keys(members).find((key) => key.toLowerCase() === name.toLowerCase());
  return key === undefined ? undefined : members[key];
}
