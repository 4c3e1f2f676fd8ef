/**
 * State that a backend keeps outside of the kernel's tables: charon's connections, a cloud's
 * routes, the commands of `extension`, the next hops of a proxy. The reconciler does not know of
 * it; a target repairs its own drift and retries its own failures.
 */

import type { Lease } from "../subnet/lease.ts";
import type { NodeInput } from "./node_input.ts";

/** After `start` has returned, it receives peers and changes of the interface one by one. */
export interface BackendTarget extends AsyncDisposable {
  /**
   * Called when the node has its lease and its kernel entries; the subnet file is written
   * afterwards. Throws `BackendError` for a problem that the user must fix.
   */
  start(input: NodeInput, stop: AbortSignal): Promise<void>;
  /** The external interface, its MTU or its address has changed. */
  externalChanged(input: NodeInput): void;
  /** Adds or replaces a peer, whose lease `Backend.peer` has accepted. Returns at once. */
  put(peer: Lease): void;
  /** Removes a peer that is gone or has become invalid. Returns at once. */
  remove(peer: Lease): void;
  /** The target has every current peer: from now on it may remove the state of any other. */
  allowSweep(): void;
  /** Resolves when all pending work is done or has failed; `problems` lists failures. */
  whenSettled(): Promise<void>;
  /**
   * Why the state is not in sync, one line for each reason, the most important first; empty if it
   * is.
   */
  problems(): readonly string[];
}
