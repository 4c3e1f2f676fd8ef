/**
 * What a backend keeps in order outside the kernel's tables: charon's connections, a cloud's routes,
 * the commands of `extension`, the next hops of a proxy. The reconciler knows nothing of them; a
 * target repairs its own drift and retries its own failures.
 */

import type { Lease } from "../subnet/lease.ts";
import type { NodeInput } from "./node_input.ts";

/** Peers and changes of the interface are told one by one, after `start` has returned. */
export interface BackendTarget extends AsyncDisposable {
  /**
   * Begins to work, with the node's own lease known and its kernel entries in place; the subnet file
   * is written after it. Throws `BackendError` for what the user must mend.
   */
  start(input: NodeInput, stop: AbortSignal): Promise<void>;
  /** Another external interface, MTU or address. */
  externalChanged(input: NodeInput): void;
  /** A peer is new or another than before. Its lease has passed `Backend.peer`. Returns at once. */
  put(peer: Lease): void;
  /** A peer has gone, or makes no sense any more. Returns at once. */
  remove(peer: Lease): void;
  /** Every peer that there is has been told: what is left of others may be removed from now on. */
  allowSweep(): void;
  /** Resolves when all that can be done has been done; what failed is in `problems`. */
  whenSettled(): Promise<void>;
  /** Why it is not as it should be, one line each, most important first; empty if it is. */
  problems(): readonly string[];
}
