/** The owners of desired entries, each in a row with what it takes to find its entries again. */

import type { DesiredEntries } from "../state/desired_entries.ts";
import type { ResourceKey } from "../state/resource.ts";

export interface OwnerEntries {
  readonly keys: readonly ResourceKey[];
  /** `undefined` if the owner cannot compute its entries again. */
  readonly again: DesiredEntries | undefined;
}

export class Owners {
  readonly #rows = new Map<string, number>();
  readonly #free: number[] = [];
  readonly #names: string[] = [];
  readonly #desired: (DesiredEntries | readonly ResourceKey[] | undefined)[] = [];
  /** Number of settled entries by row. */
  #settled = new Uint16Array(64);

  rowOf(owner: string): number | undefined {
    return this.#rows.get(owner);
  }

  nameOf(row: number): string {
    return this.#names[row] as string;
  }

  /** Replaces what an owner desires; an owner without entries loses its row. */
  set(owner: string, { keys, again }: OwnerEntries): void {
    const row = this.#rows.get(owner);
    if (keys.length > 0) this.#desired[row ?? this.#add(owner)] = again ?? keys;
    else if (row !== undefined) this.#remove(owner, row);
  }

  /** The keys of an owner that cannot compute its entries again. */
  keysOf(row: number): readonly ResourceKey[] {
    return this.#desired[row] as readonly ResourceKey[];
  }

  /** The means to compute what an owner desires again; `undefined` if it has none. */
  againOf(row: number): DesiredEntries | undefined {
    const desired = this.#desired[row];
    return Array.isArray(desired) ? undefined : desired as DesiredEntries | undefined;
  }

  settledOf(row: number): number {
    return this.#settled[row] as number;
  }

  /** The number of the row's settled entries changes by this. */
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
