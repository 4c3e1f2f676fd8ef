/**
 * Which owner desires an entry, by a hash of the entry's key. An entry costs some 17 bytes, and its
 * key is not stored: to look one up, the keys of its owner's entries are compared.
 *
 * Open addressing with linear probing. Other nodes choose the keys, so the hash has a random seed.
 */

import type { ResourceKey } from "../state/resource.ts";

/** Slots of an index without entries; a power of two, as is every size. */
const MIN_SLOTS = 64;
const FREE = 0;
/** An entry was here; the search continues behind it. */
const DELETED = 1;
/** Values from here on are rows. */
const FIRST_ROW = 2;

/** One bit that an entry has besides its row. */
export type Mark = 0 | 1;

export class SettledIndex {
  readonly #seed: number;
  #hashes = new Uint32Array(MIN_SLOTS);
  /** FREE, DELETED, or FIRST_ROW plus twice the row plus the mark. */
  #values = new Uint32Array(MIN_SLOTS);
  #size = 0;
  #deleted = 0;

  /** `seed` is a number in [0, 1). */
  constructor(seed: number) {
    this.#seed = Math.floor(seed * 2 ** 32);
  }

  /** Number of entries. */
  get size(): number {
    return this.#size;
  }

  /** A number in [0, 2³²); its bits depend on all of the key's. */
  hashOf(key: ResourceKey): number {
    let hash = this.#seed;
    for (let i = 0; i < key.length; i++) {
      hash = Math.imul(hash ^ key.charCodeAt(i), 0x85eb_ca6b); // the constants of MurmurHash3
      hash ^= hash >>> 13;
    }
    hash = Math.imul(hash ^ hash >>> 16, 0xc2b2_ae35);
    return (hash ^ hash >>> 16) >>> 0;
  }

  /** Adds an entry, which may not be there yet. */
  add(hash: number, row: number, mark: Mark): void {
    if ((this.#size + this.#deleted + 1) * 4 > this.#values.length * 3) this.#rebuild();
    this.#place(hash, FIRST_ROW + 2 * row + mark);
    this.#size++;
  }

  /** Removes an entry. Returns its mark; `undefined` if it was not there. */
  remove(hash: number, row: number): Mark | undefined {
    const slot = this.#slotOf(hash, row);
    if (slot === undefined) return undefined;
    const mark = (this.#values[slot] as number) & 1;
    this.#free(slot);
    return mark as Mark;
  }

  has(hash: number, row: number): boolean {
    return this.#slotOf(hash, row) !== undefined;
  }

  /** The rows that have an entry with this hash; nearly always one or none. */
  rowsWith(hash: number): readonly number[] {
    let rows: number[] | undefined;
    for (let slot = hash & this.#mask;; slot = slot + 1 & this.#mask) {
      const value = this.#values[slot] as number;
      if (value === FREE) return rows ?? NO_ROWS;
      if (value !== DELETED && this.#hashes[slot] === hash) (rows ??= []).push(rowOf(value));
    }
  }

  /** Removes all entries of a row whose keys are not known. */
  removeRow(row: number): void {
    for (const [slot, value] of this.#values.entries()) {
      if (value >= FIRST_ROW && rowOf(value) === row) this.#free(slot);
    }
  }

  get #mask(): number {
    return this.#values.length - 1;
  }

  #slotOf(hash: number, row: number): number | undefined {
    for (let slot = hash & this.#mask;; slot = slot + 1 & this.#mask) {
      const value = this.#values[slot] as number;
      if (value === FREE) return undefined;
      if (value !== DELETED && this.#hashes[slot] === hash && rowOf(value) === row) return slot;
    }
  }

  #place(hash: number, value: number): void {
    let slot = hash & this.#mask;
    while ((this.#values[slot] as number) >= FIRST_ROW) slot = slot + 1 & this.#mask;
    if (this.#values[slot] === DELETED) this.#deleted--;
    this.#hashes[slot] = hash;
    this.#values[slot] = value;
  }

  #free(slot: number): void {
    this.#values[slot] = DELETED;
    this.#size--;
    this.#deleted++;
  }

  /** Moves the entries to a table that is at most half full, without those that were deleted. */
  #rebuild(): void {
    const [hashes, values] = [this.#hashes, this.#values];
    let slots = MIN_SLOTS;
    while (slots < 2 * (this.#size + 1)) slots *= 2;
    this.#hashes = new Uint32Array(slots);
    this.#values = new Uint32Array(slots);
    this.#deleted = 0;
    for (const [slot, value] of values.entries()) {
      if (value >= FIRST_ROW) this.#place(hashes[slot] as number, value);
    }
  }
}

const NO_ROWS: readonly number[] = [];

function rowOf(value: number): number {
  return value - FIRST_ROW >>> 1;
}
