import type { Resource } from "./resource.ts";

/**
 * Computes the entries that many owners desire, each time that they are needed, instead of storing
 * them. An owner has a row, and gets a new one when it desires other entries.
 */
export interface EntrySource {
  ownerOf(row: number): string;
  /** Whether `ownerOf` returns this; cheaper. */
  isOwner(row: number, owner: string): boolean;
  /** The precedence that was passed with the entries. */
  precedenceOf(row: number): bigint;
  /** Always the entries that were passed. The caller may keep them, but may not change them. */
  entriesOf(row: number): readonly Resource[];
}

/** What computes the entries of one owner. */
export interface SourceRow {
  readonly source: EntrySource;
  /** Valid until the owner's entries have been replaced. */
  readonly row: number;
}
