/** Names of errno(3) values. */

import { constants } from "node:os";

/** `EEXIST` for 17; a number that has no name (the kernel has some of its own) as `errno 524`. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/** 17 for `EEXIST`; `undefined` for a name that this platform does not have. */
export function errnoNumber(name: string): number | undefined {
  return (constants.errno as Readonly<Record<string, number>>)[name];
}

const NAMES = new Map(
  Object.entries(constants.errno).map(([name, value]) => [value, name] as const),
);
// Of two names for one number, the one that the kernel's own sources use.
for (const name of ["EAGAIN", "EOPNOTSUPP", "EDEADLK"] as const) {
  const value = constants.errno[name];
  if (value !== undefined) NAMES.set(value, name);
}
