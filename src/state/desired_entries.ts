import type { Resource } from "./resource.ts";

/** Computes an owner's desired entries again, so that they need not be stored. */
export interface DesiredEntries {
  /** As it was given with the entries. */
  readonly precedence: bigint;
  /** Always the entries that were given. The caller may keep them, and may not change them. */
  entries(): readonly Resource[];
}
