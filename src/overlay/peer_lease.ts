/** Reads what another node's lease says; what does not make sense is an `InvalidPeerError`. */

import type { Family, IpAddress } from "../addr/ip.ts";
import type { Lease } from "../subnet/lease.ts";
import { printableName, quoted } from "../base/quoting.ts";
import type { ExternalInterface } from "../host/external_interface.ts";

/** A peer's lease that cannot be turned into kernel entries. The message says why. */
export class InvalidPeerError extends Error {
  override readonly name = "InvalidPeerError";
}

/** Refuses a lease of another backend. Neither side can read the other's packets. */
export function requireBackendType(peer: Lease, type: string): void {
  const found = peer.attributes.backendType;
  if (found !== type) {
    throw new InvalidPeerError(
      `its backend is ${found === "" ? "not named" : printableName(found)}, this node's is ${type}`,
    );
  }
}

/** The address to which packets for this family's subnet go. */
export function peerAddress(peer: Lease, family: Family): IpAddress {
  const address = peer.attributes.publicAddresses[family];
  if (address === undefined) {
    throw new InvalidPeerError(
      `it has the subnet ${peer.subnets[family]} but no public IPv${family} address`,
    );
  }
  return address;
}

/**
 * The same as the far end of a tunnel, which this node's own address cannot be: the kernel refuses
 * some such entries, and with others a packet would come back. A former lease of this node has it.
 */
export function tunnelEnd(peer: Lease, family: Family, external: ExternalInterface): IpAddress {
  const address = peerAddress(peer, family);
  if (address === external.addresses[family] || address === external.publicAddresses[family]) {
    throw new InvalidPeerError(
      `its public address ${address} is this node's own, and a tunnel needs two ends`,
    );
  }
  return address;
}

/**
 * The object in a lease's `BackendData` or `BackendV6Data` for this family; the backend checks its members.
 */
export function peerData(peer: Lease, family: Family): Readonly<Record<string, unknown>> {
  const data = peer.attributes.backendData[family];
  const name = dataName(family);
  if (data === undefined || data === null) {
    throw new InvalidPeerError(`it has the subnet ${peer.subnets[family]} but no ${name}`);
  }
  if (typeof data === "object" && !Array.isArray(data)) return data as Record<string, unknown>;
  const what = Array.isArray(data) ? "the array" : `the ${typeof data}`;
  const cause = typeof data === "string" && data.trimStart().startsWith("{")
    ? "; it was encoded as JSON twice"
    : "";
  throw new InvalidPeerError(
    `its ${name} is ${what} ${quoted(data)} where an object should be${cause}`,
  );
}

/** The name of a family's data in a lease. */
export function dataName(family: Family): string {
  return family === 4 ? "BackendData" : "BackendV6Data";
}

/** The member of a JSON object with this name in any case, as Go's decoder reads it. */
export function jsonMember(data: unknown, name: string): unknown {
  if (typeof data !== "object" || data === null) return undefined;
  const members = data as Record<string, unknown>;
  if (name in members) return members[name];
  const key = Object.keys(members).find((key) => key.toLowerCase() === name.toLowerCase());
  return key === undefined ? undefined : members[key];
}
