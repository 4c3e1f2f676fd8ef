import type { Lease, LeaseKey } from "../subnet/lease.ts";
import { equalLeases } from "../subnet/packed_lease.ts";
import type { BackendTarget } from "./backend_target.ts";

/**
 * The peers that a backend's target has, so that it gets each change once. Without a target,
 * nothing.
 */
export class TargetPeers {
  readonly #target: Pick<BackendTarget, "put" | "remove"> | undefined;
  readonly #peers = new Map<LeaseKey, Lease>();

  constructor(target: Pick<BackendTarget, "put" | "remove"> | undefined) {
    this.#target = target;
  }

  put(peer: Lease): void {
    if (this.#target === undefined) return;
    const known = this.#peers.get(peer.key);
    if (known !== undefined && equalLeases(known, peer)) return;
    this.#peers.set(peer.key, peer);
    this.#target.put(peer);
  }

  /** Does nothing for a peer that the target does not have. */
  remove(key: LeaseKey): void {
    const peer = this.#peers.get(key);
    if (peer === undefined) return;
    this.#peers.delete(key);
    this.#target?.remove(peer);
  }
}
