/** Names of errno(3) values. */

import { constants } from "node:os";

/** `EEXIST` for 17; `errno 524` for a number without a name (the kernel has some of its own). */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/** 17 for `EEXIST`; `undefined` for an unknown name. */
export function errnoNumber(name: string): number | undefined {
  return (constants.errno as Readonly<Record<string, number>>)[name];
}

const NAMES = new Map(
  Object.entries(constants.errno).map(([name, value]) => [value, name] as const),
);
// Of two names for one number, the one in the kernel's sources.
for (const name of ["EAGAIN", "EOPNOTSUPP", "EDEADLK"] as const) {
  const value = constants.errno[name];
  if (value !== undefined) NAMES.set(value, name);
}
