import type { Resource } from "./resource.ts";

/** What an owner desires, computed each time that it is needed instead of stored. */
export interface EntrySource {
  /** The one that was passed with the entries. */
  readonly precedence: bigint;
  /** Always the entries that were passed. The caller may keep them, but may not change them. */
  entries(): readonly Resource[];
}
