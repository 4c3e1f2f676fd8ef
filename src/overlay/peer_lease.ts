/**
 * Reads another node's lease. Each function throws `InvalidPeerError` for a value that is not
 * valid.
 */

import type { Family, IpAddress } from "../addr/ip.ts";
import type { Lease } from "../subnet/lease.ts";
import { printableName, quoted } from "../base/quoting.ts";
import type { ExternalInterface } from "../host/external_interface.ts";

/** A peer's lease that cannot be turned into kernel entries. The message says why. */
export class InvalidPeerError extends Error {
  override readonly name = "InvalidPeerError";
}

/** Rejects a lease of another backend: the two nodes could not read each other's packets. */
export function requireBackendType(peer: Lease, type: string): void {
  const found = peer.attributes.backendType;
  if (found !== type) {
    throw new InvalidPeerError(
      `its backend is ${found === "" ? "not named" : printableName(found)}, this node's is ${type}`,
    );
  }
}

/** The address to which packets for this family's subnet are sent. */
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
 * As `peerAddress`, for the remote end of a tunnel, which may not be this node's own address: the
 * kernel rejects some such entries, and with others packets would come back. A previous lease of
 * this node has that address.
 */
export function tunnelEnd(peer: Lease, family: Family, external: ExternalInterface): IpAddress {
  const address = peerAddress(peer, family);
  if (address === external.addresses[family] || address === external.publicAddresses[family]) {
    throw new InvalidPeerError(
      `its public address ${address} is this node's own and cannot be the remote end of a tunnel`,
    );
  }
  return address;
}

/** The lease's `BackendData` or `BackendV6Data`, an object whose members the backend must check. */
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
    `its ${name} is ${what} ${quoted(data)}, not an object${cause}`,
  );
}

/** The name of this family's data in a lease. */
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
