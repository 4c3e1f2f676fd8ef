import type { Resource } from "./resource.ts";

/**
 * What many owners desire, computed each time that it is needed instead of stored. Each owner has a
 * row in it, and gets another one when it desires something else.
 */
export interface EntrySource {
  ownerOf(row: number): string;
  /** Whether `ownerOf` returns this; cheaper. */
  isOwner(row: number, owner: string): boolean;
  /** The one that was passed with the entries. */
  precedenceOf(row: number): bigint;
  /** Always the entries that were passed. The caller may keep them, but may not change them. */
  entriesOf(row: number): readonly Resource[];
}

/** Where one owner's entries are computed. */
export interface SourceRow {
  readonly source: EntrySource;
  /** Valid until the owner's entries have been replaced. */
  readonly row: number;
}
