/** Closes a `switch` over a union: the compiler reports a missing case, the runtime names it. */
export function assertNever(value: never): never {
  throw new Error(`unhandled case: ${JSON.stringify(value)}`);
}
