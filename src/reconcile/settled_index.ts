/**
 * Which owner desires an entry, by a hash of the entry's key. An entry costs some 12 bytes, and its
 * key is not stored: to look one up, the keys of its owner's entries are compared.
 */

import { RowIndex } from "../base/row_index.ts";
import type { ResourceKey } from "../state/resource.ts";

/** One bit that an entry has besides its row. */
export type Mark = 0 | 1;

export class SettledIndex {
  /** Its rows are twice the owner's row plus the mark. */
  readonly #index: RowIndex;

  /** `seed` is a number in [0, 1). */
  constructor(seed: number) {
    this.#index = new RowIndex(seed);
  }

  /** Number of entries. */
  get size(): number {
    return this.#index.size;
  }

  /** A number in [0, 2³²); its bits depend on all of the key's. */
  hashOf(key: ResourceKey): number {
    return this.#index.hashOf(key);
  }

  /** Adds an entry, which may not be there yet. */
  add(hash: number, row: number, mark: Mark): void {
    this.#index.add(hash, 2 * row + mark);
  }

  /** Removes an entry. Returns its mark; `undefined` if it was not there. */
  remove(hash: number, row: number): Mark | undefined {
    return MARKS.find((mark) => this.#index.remove(hash, 2 * row + mark));
  }

  has(hash: number, row: number): boolean {
    return MARKS.some((mark) => this.#index.has(hash, 2 * row + mark));
  }

  /** The rows that have an entry with this hash; nearly always one or none. */
  rowsWith(hash: number): readonly number[] {
    return this.#index.rowsWith(hash).map((value) => value >>> 1);
  }

  /** Removes all entries of a row whose keys are not known. */
  removeRow(row: number): void {
    for (const mark of MARKS) this.#index.removeRow(2 * row + mark);
  }
}

const MARKS: readonly Mark[] = [0, 1];
