/**
 * The peers' leases, and what the entries of each were computed from. A peer has a row. With new
 * entries it gets a new row, so that its previous entries can be computed until they are replaced.
 */

import { columnFor } from "../base/column.ts";
import type { EntrySource, SourceRow } from "../state/entry_source.ts";
import type { Resource } from "../state/resource.ts";
import type { Lease, LeaseKey } from "../subnet/lease.ts";
import { LeaseRows } from "../subnet/lease_rows.ts";
import type { Backend, PeerReachability } from "./backend.ts";
import type { NodeInput } from "./node_input.ts";
import { identitiesIn, type Identity } from "./peer_identities.ts";
import type { ClaimantRows } from "./settled_claims.ts";

/** What a peer's entries depend on besides its lease. */
export interface PeerContext {
  /** One object for all peers, until it changes. */
  readonly input: NodeInput;
  readonly reachability: PeerReachability;
}

export class PeerRows implements EntrySource, ClaimantRows {
  readonly #backend: Pick<Backend, "peer">;
  readonly #leases: LeaseRows;
  /** By row: the place in `#contexts` plus one; 0 if the peer has no entries. */
  #contextOf = new Uint16Array();
  /** Few: all peers have the same input, and their reachability differs in nine ways at most. */
  readonly #contexts: SharedContext[] = [];
  /** Leases for which no entries have been computed yet. */
  readonly #waiting = new Map<LeaseKey, Lease>();

  /** `seed` is a number in [0, 1). */
  constructor(backend: Pick<Backend, "peer">, seed: number) {
    this.#backend = backend;
    this.#leases = new LeaseRows(seed);
  }

  /** Number of peers. */
  get size(): number {
    const added = [...this.#waiting.keys()].filter((key) => this.#leases.find(key) === undefined);
    return this.#leases.size + added.length;
  }

  keys(): Iterable<LeaseKey> {
    const keys = new Set(this.#leases.rows().map((row) => this.#leases.keyAt(row)));
    for (const key of this.#waiting.keys()) keys.add(key);
    return keys;
  }

  /** The current leases. */
  *leases(): Iterable<Lease> {
    for (const key of this.keys()) {
      const lease = this.get(key);
      if (lease !== undefined) yield lease;
    }
  }

  has(key: LeaseKey): boolean {
    return this.#waiting.has(key) || this.#leases.find(key) !== undefined;
  }

  /** The current lease. */
  get(key: LeaseKey): Lease | undefined {
    const waiting = this.#waiting.get(key);
    if (waiting !== undefined) return waiting;
    const row = this.#leases.find(key);
    return row === undefined ? undefined : this.#leases.at(row);
  }

  /** Stores a new lease. The entries are those of the previous one until `replaceEntries`. */
  put(lease: Lease): void {
    this.#waiting.set(lease.key, lease);
  }

  /**
   * Replaces a peer's entries with those of this lease; without a context, with none. `replace`
   * receives the row that computes them. If it throws, the previous ones can still be computed as
   * well. Returns the row.
   */
  replaceEntries(
    lease: Lease,
    context: PeerContext | undefined,
    replace: (computed: SourceRow) => void,
  ): number {
    const { key } = lease;
    const before = this.#leases.rowsOf(key);
    const row = this.#leases.add(lease);
    this.#contextOf = columnFor(this.#contextOf, row);
    this.#contextOf[row] = context === undefined ? 0 : this.#share(context) + 1;
    this.#waiting.set(key, lease); // Until `replace` has returned, there are two rows.
    replace({ source: this, row });
    this.#waiting.delete(key);
    for (const other of before) this.#free(other);
    return row;
  }

  /** Removes a peer. If `removeEntries` throws, its entries can still be computed. */
  delete(key: LeaseKey, removeEntries: () => void): void {
    this.#waiting.delete(key);
    const rows = this.#leases.rowsOf(key);
    for (const row of rows) this.#leases.hide(row);
    removeEntries();
    for (const row of rows) this.#free(row);
  }

  rowsOf(key: LeaseKey): readonly number[] {
    return this.#leases.rowsOf(key);
  }

  leaseAt(row: number): Lease {
    return this.#leases.at(row);
  }

  identitiesAt(row: number): Identity[] {
    return identitiesIn(this.entriesOf(row));
  }

  ownerOf(row: number): string {
    return this.#leases.keyAt(row);
  }

  isOwner(row: number, owner: string): boolean {
    return this.#leases.hasKey(row, owner as LeaseKey);
  }

  precedenceOf(row: number): bigint {
    return this.#leases.at(row).changed;
  }

  entriesOf(row: number): Resource[] {
    const context = this.#contexts[(this.#contextOf[row] as number) - 1];
    if (context === undefined) return [];
    return this.#backend.peer(this.#leases.at(row), context.input, context.reachability);
  }

  #free(row: number): void {
    const context = this.#contexts[(this.#contextOf[row] as number) - 1];
    if (context !== undefined) context.uses--;
    this.#contextOf[row] = 0;
    this.#leases.delete(row);
  }

  #share({ input, reachability: { direct } }: PeerContext): number {
    const known = this.#contexts.findIndex((other) =>
      other.input === input && other.reachability.direct[4] === direct[4] &&
      other.reachability.direct[6] === direct[6]
    );
    // Without the path, which appears only in messages, few contexts differ.
    const shared = { input, reachability: { direct, path: {} }, uses: 1 };
    const unused = this.#contexts.findIndex(({ uses }) => uses === 0);
    if (known >= 0) (this.#contexts[known] as SharedContext).uses++;
    else if (unused >= 0) this.#contexts[unused] = shared;
    else return this.#contexts.push(shared) - 1;
    return known >= 0 ? known : unused;
  }
}

interface SharedContext extends PeerContext {
  /** Number of rows that use it; 0 if another context may take its place. */
  uses: number;
}
