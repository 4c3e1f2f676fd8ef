/**
 * Finds rows by what they contain. The index has, for each row, a hash of the content but not the
 * content itself, which the caller compares. An entry costs some 12 bytes and no object, a fraction
 * of what it costs in a `Map`.
 *
 * Open addressing with linear probing. A removed entry leaves no trace: those behind it move up.
 * Other nodes choose what is hashed, so the hash has a random seed.
 */

/** Slots of an index without entries. */
const MIN_SLOTS = 16;
const FREE = 0;

export class RowIndex {
  readonly #seed: number;
  #hashes = new Uint32Array(MIN_SLOTS);
  /** FREE, or the row plus one. */
  #rows = new Uint32Array(MIN_SLOTS);
  #size = 0;

  /** `seed` is a number in [0, 1). */
  constructor(seed: number) {
    this.#seed = Math.floor(seed * 2 ** 32);
  }

  /** Number of entries. */
  get size(): number {
    return this.#size;
  }

  /** A number in [0, 2³²); its bits depend on all of the text. */
  hashOf(text: string): number {
    return Bun.hash.xxHash32(text, this.#seed);
  }

  /** Adds an entry, which may not be there yet. */
  add(hash: number, row: number): void {
    if ((this.#size + 1) * 4 > this.#rows.length * 3) this.#resize(this.#size + 1);
    this.#place(hash, row + 1);
    this.#size++;
  }

  /** Removes an entry. Returns whether it was there. */
  remove(hash: number, row: number): boolean {
    const slot = this.#slotOf(hash, row);
    if (slot === undefined) return false;
    this.#free(slot);
    this.#size--;
    const isMostlyFree = this.#size * 6 < this.#rows.length && this.#rows.length > MIN_SLOTS;
    if (isMostlyFree) this.#resize(this.#size);
    return true;
  }

  has(hash: number, row: number): boolean {
    return this.#slotOf(hash, row) !== undefined;
  }

  /** The first row with this hash for which `isWanted` returns true. */
  find(hash: number, isWanted: (row: number) => boolean): number | undefined {
    return this.rowsWith(hash).find(isWanted);
  }

  /** The rows that have an entry with this hash; nearly always one or none. */
  rowsWith(hash: number): readonly number[] {
    let found: number[] | undefined;
    for (let slot = this.#homeOf(hash);; slot = this.#after(slot)) {
      const value = this.#rows[slot] as number;
      if (value === FREE) return found ?? NO_ROWS;
      if (this.#hashes[slot] === hash) (found ??= []).push(value - 1);
    }
  }

  /** Removes all entries of a row whose hashes are not known, by looking at every entry. */
  removeRow(row: number): void {
    const hashes = this.#hashes.filter((_, slot) => this.#rows[slot] === row + 1);
    for (const hash of hashes) this.remove(hash, row);
  }

  /** Where the search for a hash begins: its share of the slots. */
  #homeOf(hash: number): number {
    return Math.floor(hash / 2 ** 32 * this.#rows.length);
  }

  #after(slot: number): number {
    return slot + 1 === this.#rows.length ? 0 : slot + 1;
  }

  #slotOf(hash: number, row: number): number | undefined {
    for (let slot = this.#homeOf(hash);; slot = this.#after(slot)) {
      const value = this.#rows[slot] as number;
      if (value === FREE) return undefined;
      if (value === row + 1 && this.#hashes[slot] === hash) return slot;
    }
  }

  #place(hash: number, value: number): void {
    let slot = this.#homeOf(hash);
    while (this.#rows[slot] !== FREE) slot = this.#after(slot);
    this.#hashes[slot] = hash;
    this.#rows[slot] = value;
  }

  /** Frees a slot, and closes the gap for those that a search would no longer find behind it. */
  #free(slot: number): void {
    let gap = slot;
    for (let next = this.#after(slot); this.#rows[next] !== FREE; next = this.#after(next)) {
      const hash = this.#hashes[next] as number;
      if (this.#distance(this.#homeOf(hash), next) < this.#distance(gap, next)) continue;
      this.#hashes[gap] = hash;
      this.#rows[gap] = this.#rows[next] as number;
      gap = next;
    }
    this.#rows[gap] = FREE;
  }

  /** Slots from one to another, in the order of a search. */
  #distance(from: number, to: number): number {
    return to >= from ? to - from : to - from + this.#rows.length;
  }

  /** Moves the entries to a table that is half full with `size` entries. */
  #resize(size: number): void {
    const [hashes, rows] = [this.#hashes, this.#rows];
    const slots = Math.max(MIN_SLOTS, 2 * size);
    this.#hashes = new Uint32Array(slots);
    this.#rows = new Uint32Array(slots);
    for (const [slot, value] of rows.entries()) {
      if (value !== FREE) this.#place(hashes[slot] as number, value);
    }
  }
}

const NO_ROWS: readonly number[] = [];
