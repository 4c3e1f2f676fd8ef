import type { ExternalInterface } from "../host/external_interface.ts";
import type { Resource } from "../state/resource.ts";
import type { Lease, LeaseKey } from "../subnet/lease.ts";
import type { Backend } from "./backend.ts";

/** How many peers are reached in which way. */
export interface PeerPathCounts {
  readonly tunnel: number;
  readonly direct: number;
  /** Their lease was deleted a moment ago; they keep their entries for a second. */
  readonly departing: number;
}

/** A peer and how it is reached. */
export interface PeerState {
  readonly lease: Lease;
  readonly path: "tunnel" | "direct" | "unreachable" | "ignored" | "departing";
  /** Why it cannot be used or reached. */
  readonly problem?: string | undefined;
}

/**
 * Which peers are reached through a tunnel. Only with a backend that reaches some peers directly
 * this has to be known for each; nothing is stored for those.
 */
export class PeerPaths {
  readonly #backend: Pick<Backend, "needsReachability" | "isDirect">;
  readonly #tunnelled = new Set<LeaseKey>();

  constructor(backend: Pick<Backend, "needsReachability" | "isDirect">) {
    this.#backend = backend;
  }

  set(key: LeaseKey, resources: readonly Resource[], external: ExternalInterface): void {
    if (!this.#backend.needsReachability) return;
    const usesTunnel = resources.some((one) => one.kind === "route" && one.link !== external.name);
    if (usesTunnel) this.#tunnelled.add(key);
    else this.#tunnelled.delete(key);
  }

  delete(key: LeaseKey): void {
    this.#tunnelled.delete(key);
  }

  /** How a peer that is in use is reached. */
  pathOf(key: LeaseKey): "tunnel" | "direct" {
    const { needsReachability, isDirect } = this.#backend;
    return !isDirect && (!needsReachability || this.#tunnelled.has(key)) ? "tunnel" : "direct";
  }

  /** Counts those of the peers for which `isUsed` returns true. */
  counts(
    peers: Iterable<LeaseKey>,
    isUsed: (key: LeaseKey) => boolean,
  ): Omit<PeerPathCounts, "departing"> {
    const counts = { tunnel: 0, direct: 0 };
    for (const key of peers) if (isUsed(key)) counts[this.pathOf(key)]++;
    return counts;
  }
}
