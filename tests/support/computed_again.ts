import type { SourceRow } from "../../src/state/entry_source.ts";
import type { Resource } from "../../src/state/resource.ts";

/** Returns equal entries each time, but never the same objects. */
export function computedAgain(
  owner: string,
  entries: readonly Resource[],
  precedence: bigint,
): SourceRow {
  const source = {
    ownerOf: () => owner,
    isOwner: (_row: number, other: string) => other === owner,
    precedenceOf: () => precedence,
    entriesOf: () => structuredClone([...entries]),
  };
  return { source, row: 0 };
}
