/**
 * The identities of the peers whose claims no other peer disputes, which are nearly all. Only the
 * hash of an identity is stored; the identity itself is computed from the row of its peer.
 */

import { columnFor } from "../base/column.ts";
import { RowIndex } from "../base/row_index.ts";
import type { Lease, LeaseKey } from "../subnet/lease.ts";
import type { Identity } from "./peer_identities.ts";

/** The rows of peers; `PeerRows` has them. */
export interface ClaimantRows {
  rowsOf(key: LeaseKey): readonly number[];
  leaseAt(row: number): Lease;
  /** Always those with which the row was added. */
  identitiesAt(row: number): readonly Identity[];
}

export interface SettledClaim {
  readonly lease: Lease;
  readonly identities: readonly Identity[];
  /** Revision since which it claims them; `undefined`: since the lease was created. */
  readonly since: bigint | undefined;
}

export class SettledClaims {
  readonly #peers: ClaimantRows;
  /** The rows of peers by identity. */
  readonly #index: RowIndex;
  /** By row: how many identities are in the index. */
  #counts = new Uint8Array();
  /** `SettledClaim.since` by row; 0 for `undefined`. */
  #since = new Float64Array();

  /** `seed` is a number in [0, 1). */
  constructor(peers: ClaimantRows, seed: number) {
    this.#peers = peers;
    this.#index = new RowIndex(seed);
  }

  /** Number of claimed identities. */
  get size(): number {
    return this.#index.size;
  }

  /** Adds what a row claims. Returns whether it can be stored. */
  add(row: number, identities: readonly Identity[], since: bigint | undefined): boolean {
    const number = Number(since ?? 0n);
    const isStorable = number !== 0 || since === undefined;
    if (!isStorable || !Number.isSafeInteger(number) || identities.length > MAX_COUNT) return false;
    this.#counts = columnFor(this.#counts, row);
    this.#since = columnFor(this.#since, row);
    this.#counts[row] = identities.length;
    this.#since[row] = number;
    for (const identity of identities) this.#index.add(this.#index.hashOf(identity), row);
    return true;
  }

  /** Removes what a peer claims, and returns it; `undefined` if there is nothing. */
  take(key: LeaseKey): SettledClaim | undefined {
    const row = this.#peers.rowsOf(key).find((row) => (this.#counts[row] ?? 0) > 0);
    if (row === undefined) return undefined;
    const identities = this.#identitiesAt(row);
    const removed = identities.filter((one) => this.#index.remove(this.#index.hashOf(one), row));
    if (removed.length !== this.#counts[row]) this.#index.removeRow(row);
    this.#counts[row] = 0;
    const since = this.#since[row] as number;
    return {
      lease: this.#peers.leaseAt(row),
      identities: removed,
      since: since === 0 ? undefined : BigInt(since),
    };
  }

  /** The lease of the peer that claims this. */
  claimantOf(identity: Identity): LeaseKey | undefined {
    const row = this.#index.find(
      this.#index.hashOf(identity),
      (row) => this.#identitiesAt(row).includes(identity),
    );
    return row === undefined ? undefined : this.#peers.leaseAt(row).key;
  }

  /** None if they cannot be computed: another peer's lease may not fail because of this one. */
  #identitiesAt(row: number): readonly Identity[] {
    try {
      return this.#peers.identitiesAt(row);
    } catch {
      return [];
    }
  }
}

const MAX_COUNT = 255;
