/**
 * Mutants that no test can notice, each with the reason why the program behaves the same. Where the
 * code can be made simpler instead, that is better.
 */
export interface Equivalent {
  readonly file: string;
  /** The text that is replaced, and by what, as the report shows them. */
  readonly original: string;
  readonly replacement: string;
  readonly reason: string;
}

export const EQUIVALENT: readonly Equivalent[] = [
  {
    file: "src/state/same_resource.ts",
    original: "desired === actual",
    replacement: "false",
    reason: "a shortcut: an object has the same fields as itself",
  },
  {
    file: "src/state/same_resource.ts",
    original: "a === b",
    replacement: "false",
    reason: "a shortcut: an object has the same fields as itself",
  },
  {
    file: "src/subnet/lease_table.ts",
    original: "candidate.accepted",
    replacement: "true",
    reason: "a shortcut: what did not hold its subnet kept no other lease from it",
  },
  {
    file: "src/subnet/lease_table.ts",
    original: "familiesOf(lease.subnets).every((family) => families[family])",
    replacement: "false",
    reason: "a shortcut: a copy with the same families is the same lease",
  },
  {
    file: "src/subnet/allocation.ts",
    original: "a.first > b.first",
    replacement: "true",
    reason: "ranges that begin together may come in either order",
  },
];
