/** Lease data of backends that read none. */

import { expect } from "bun:test";
import fc from "fast-check";
import { type Backend, UNKNOWN_REACHABILITY } from "../../src/overlay/backend.ts";
import type { NodeInput } from "../../src/overlay/node_input.ts";
import type { Lease } from "../../src/subnet/lease.ts";

/** The peer's entries do not depend on the `BackendData` of its lease. */
export function expectLeaseDataIgnored(backend: Backend, peer: Lease, input: NodeInput): void {
  const plain = backend.peer(peer, input, UNKNOWN_REACHABILITY);
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (ipv4, ipv6) => {
      const attributes = { ...peer.attributes, backendData: { 4: ipv4, 6: ipv6 } };
      expect(backend.peer({ ...peer, attributes }, input, UNKNOWN_REACHABILITY)).toEqual(plain);
    }),
    { numRuns: 1000 },
  );
}
