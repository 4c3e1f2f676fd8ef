import type { DesiredEntries } from "../../src/state/desired_entries.ts";
import type { Resource } from "../../src/state/resource.ts";

/** Returns equal entries each time, but never the same objects. */
export function computedAgain(entries: readonly Resource[], precedence: bigint): DesiredEntries {
  return { precedence, entries: () => structuredClone([...entries]) };
}
