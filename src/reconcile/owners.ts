/** The owners of desired entries, each with a row: its entries, or the source of them. */

import type { EntrySource } from "../state/entry_source.ts";
import type { ResourceKey } from "../state/resource.ts";

export interface OwnerEntries {
  readonly keys: readonly ResourceKey[];
  /** `undefined` if the owner cannot compute its entries. */
  readonly source: EntrySource | undefined;
}

export class Owners {
  readonly #rows = new Map<string, number>();
  readonly #free: number[] = [];
  readonly #names: string[] = [];
  readonly #desired: (EntrySource | readonly ResourceKey[] | undefined)[] = [];
  /** Number of settled entries by row. */
  #settled = new Uint16Array(64);

  rowOf(owner: string): number | undefined {
    return this.#rows.get(owner);
  }

  nameOf(row: number): string {
    return this.#names[row] as string;
  }

  /** Replaces what an owner desires; an owner without entries loses its row. */
  set(owner: string, { keys, source }: OwnerEntries): void {
    const row = this.#rows.get(owner);
    if (keys.length > 0) this.#desired[row ?? this.#add(owner)] = source ?? keys;
    else if (row !== undefined) this.#remove(owner, row);
  }

  /** The keys of an owner without a source. */
  keysOf(row: number): readonly ResourceKey[] {
    return this.#desired[row] as readonly ResourceKey[];
  }

  /** Computes what the owner desires; `undefined` if it has no source. */
  sourceOf(row: number): EntrySource | undefined {
    const desired = this.#desired[row];
    return Array.isArray(desired) ? undefined : desired as EntrySource | undefined;
  }

  settledOf(row: number): number {
    return this.#settled[row] as number;
  }

  /** Adds `difference` to the number of the row's settled entries. */
  addSettled(row: number, difference: number): void {
    this.#settled[row] = (this.#settled[row] as number) + difference;
  }

  /** The rows that have settled entries. */
  *rowsWithSettled(): Iterable<number> {
    for (const row of this.#names.keys()) if (this.#settled[row] !== 0) yield row;
  }

  #add(owner: string): number {
    const row = this.#free.pop() ?? this.#names.length;
    this.#names[row] = owner;
    this.#rows.set(owner, row);
    if (row >= this.#settled.length) {
      const larger = new Uint16Array(2 * this.#settled.length);
      larger.set(this.#settled);
      this.#settled = larger;
    }
    return row;
  }

  #remove(owner: string, row: number): void {
    this.#rows.delete(owner);
    this.#names[row] = "";
    this.#desired[row] = undefined;
    this.#free.push(row);
  }
}
