import type { ExternalInterface } from "../host/external_interface.ts";
import type { Lease } from "../subnet/lease.ts";

/** What this node's own entries and those for a peer depend on besides the peer's lease. */
export interface NodeInput {
  readonly own: Lease;
  readonly external: ExternalInterface;
}
