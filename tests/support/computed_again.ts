import type { EntrySource } from "../../src/state/entry_source.ts";
import type { Resource } from "../../src/state/resource.ts";

/** Returns equal entries each time, but never the same objects. */
export function computedAgain(entries: readonly Resource[], precedence: bigint): EntrySource {
  return { precedence, entries: () => structuredClone([...entries]) };
}
