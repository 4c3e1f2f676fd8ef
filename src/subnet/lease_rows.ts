/**
 * Leases in rows: packed into one buffer instead of an object each (docs/adr/0014), and found by
 * their key. Reading one decodes it, so reading it twice may return two equal objects.
 */

import { RowIndex } from "../base/row_index.ts";
import { TextRows } from "../base/text_rows.ts";
import type { Lease, LeaseKey } from "./lease.ts";
import { packedText, unpackLease } from "./packed_lease.ts";

export class LeaseRows {
  readonly #index: RowIndex;
  readonly #keys = new TextRows();
  /** Their rows are those of the keys. */
  readonly #texts = new TextRows();
  /** Leases that cannot be packed, by row. Their text is empty. */
  readonly #unpacked = new Map<number, Lease>();

  /** The lease that was read last; it is usually read several times in a row. */
  #last: { readonly row: number; readonly lease: Lease } | undefined;

  /** `seed` is a number in [0, 1). */
  constructor(seed: number) {
    this.#index = new RowIndex(seed);
  }

  /** Number of leases that `find` finds. */
  get size(): number {
    return this.#index.size;
  }

  /** The rows of the leases that `find` finds. */
  rows(): number[] {
    const rows = this.#texts.rows();
    return rows.length === this.size ? rows : rows.filter((row) => this.#isFound(row));
  }

  /** The row of the lease with this key; of several, any of them. */
  find(key: LeaseKey): number | undefined {
    return this.#index.find(this.#index.hashOf(key), (row) => this.hasKey(row, key));
  }

  /** All rows with this key. */
  rowsOf(key: LeaseKey): number[] {
    const rows = this.#index.rowsWith(this.#index.hashOf(key));
    return rows.filter((row) => this.hasKey(row, key));
  }

  at(row: number): Lease {
    if (this.#last?.row === row) return this.#last.lease;
    const lease = this.#unpacked.get(row) ?? unpackLease(this.keyAt(row), this.#texts.at(row));
    this.#last = { row, lease };
    return lease;
  }

  /** Whether the lease of this row has this key. */
  hasKey(row: number, key: LeaseKey): boolean {
    const unpacked = this.#unpacked.get(row);
    return unpacked === undefined ? this.#keys.isAt(row, key) : unpacked.key === key;
  }

  keyAt(row: number): LeaseKey {
    return this.#unpacked.get(row)?.key ?? this.#keys.at(row) as LeaseKey;
  }

  /** Stores a lease in a new row, even if there is one with the same key. */
  add(lease: Lease): number {
    const text = packedText(lease);
    const row = this.#texts.add(text ?? "");
    this.#keys.add(lease.key); // Gets the same row: both are added and deleted together.
    if (text === undefined) this.#unpacked.set(row, lease);
    this.#index.add(this.#index.hashOf(lease.key), row);
    return row;
  }

  /** Replaces the lease of a row by one with the same key. */
  replace(row: number, lease: Lease): void {
    this.#forget(row);
    const text = packedText(lease);
    this.#texts.replace(row, text ?? "");
    if (text === undefined) this.#unpacked.set(row, lease);
    else this.#unpacked.delete(row);
  }

  /** From now on, the lease of this row is not found by its key. */
  hide(row: number): void {
    this.#index.remove(this.#index.hashOf(this.keyAt(row)), row);
  }

  /** Frees a row, which must have a lease. */
  delete(row: number): void {
    this.hide(row);
    this.#forget(row);
    this.#texts.delete(row);
    this.#keys.delete(row);
    this.#unpacked.delete(row);
  }

  #forget(row: number): void {
    if (this.#last?.row === row) this.#last = undefined;
  }

  #isFound(row: number): boolean {
    return this.#index.has(this.#index.hashOf(this.keyAt(row)), row);
  }
}
