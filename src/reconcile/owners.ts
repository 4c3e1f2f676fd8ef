/**
 * The owners of desired entries, in rows. A row has the keys of the owner's entries, or the row of
 * the source that computes them; such a source also has the owner's name.
 */

import { columnFor } from "../base/column.ts";
import { RowIndex } from "../base/row_index.ts";
import type { EntrySource, SourceRow } from "../state/entry_source.ts";
import type { Resource, ResourceKey } from "../state/resource.ts";

export interface OwnerEntries {
  readonly keys: readonly ResourceKey[];
  /** `undefined` if nothing can compute the entries again. */
  readonly source: SourceRow | undefined;
}

export class Owners {
  /** By name. */
  readonly #index: RowIndex;
  /** By row; `undefined` if the row is free, or the owner in `#stored`. */
  readonly #sources: (EntrySource | undefined)[] = [];
  /** The rows of the sources, by our own row. */
  #sourceRows = new Uint32Array();
  /** Number of settled entries by row. */
  #settled = new Uint16Array();
  readonly #free: number[] = [];
  /** Owners without a source. */
  readonly #stored = new Map<number, { owner: string; keys: readonly ResourceKey[] }>();

  /** `seed` is a number in [0, 1). */
  constructor(seed: number) {
    this.#index = new RowIndex(seed);
  }

  rowOf(owner: string): number | undefined {
    return this.#index.find(this.#index.hashOf(owner), (row) => this.#isNamed(row, owner));
  }

  nameOf(row: number): string {
    const source = this.#sources[row];
    return source?.ownerOf(this.#sourceRows[row] as number) ?? this.#stored.get(row)?.owner ?? "";
  }

  /** Replaces what an owner desires; an owner without entries loses its row. */
  set(owner: string, { keys, source }: OwnerEntries): void {
    const known = this.rowOf(owner);
    if (keys.length === 0) {
      if (known !== undefined) this.#remove(owner, known);
      return;
    }
    const row = known ?? this.#add(owner);
    this.#sources[row] = source?.source;
    this.#sourceRows[row] = source?.row ?? 0;
    if (source === undefined) this.#stored.set(row, { owner, keys });
    else this.#stored.delete(row);
  }

  /** The keys of an owner without a source. */
  keysOf(row: number): readonly ResourceKey[] {
    return this.#stored.get(row)?.keys ?? [];
  }

  hasSource(row: number): boolean {
    return this.#sources[row] !== undefined;
  }

  /** Computes what the owner desires; nothing if it has no source. */
  entriesOf(row: number): readonly Resource[] {
    return this.#sources[row]?.entriesOf(this.#sourceRows[row] as number) ?? [];
  }

  /** The precedence of an owner with a source; 0 without one. */
  precedenceOf(row: number): bigint {
    return this.#sources[row]?.precedenceOf(this.#sourceRows[row] as number) ?? 0n;
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
    for (const row of this.#sources.keys()) if (this.#settled[row] !== 0) yield row;
  }

  #isNamed(row: number, owner: string): boolean {
    const source = this.#sources[row];
    return source === undefined
      ? this.#stored.get(row)?.owner === owner
      : source.isOwner(this.#sourceRows[row] as number, owner);
  }

  #add(owner: string): number {
    const row = this.#free.pop() ?? this.#sources.length;
    this.#sourceRows = columnFor(this.#sourceRows, row);
    this.#settled = columnFor(this.#settled, row);
    this.#index.add(this.#index.hashOf(owner), row);
    return row;
  }

  #remove(owner: string, row: number): void {
    this.#index.remove(this.#index.hashOf(owner), row);
    this.#sources[row] = undefined;
    this.#stored.delete(row);
    this.#free.push(row);
  }
}
