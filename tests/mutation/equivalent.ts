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
];
