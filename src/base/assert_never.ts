/** Exhaustive switches over unions. */

import { quoted } from "./quoting.ts";

/**
 * Closes a `switch` over a union: the compiler reports a missing case, and the runtime names it.
 * Throws an `Error`, which is a bug of this program.
 */
export function assertNever(value: never): never {
  throw new Error(`unhandled case: ${quoted(value)}`);
}
