/** A value for each address family that has one. */

import { FAMILIES, type Family } from "./ip.ts";

export interface PerFamily<T> {
  readonly 4?: T;
  readonly 6?: T;
}

/** The families that have a value, IPv4 first. */
export function familiesOf(values: PerFamily<unknown>): Family[] {
  return FAMILIES.filter((family) => values[family] !== undefined);
}

/** Maps the values that are there; a result of `undefined` leaves its family out. */
export function mapFamilies<T, U>(
  values: PerFamily<T>,
  map: (value: T, family: Family) => U | undefined,
): PerFamily<U> {
  const result: { 4?: U; 6?: U } = {};
  for (const family of familiesOf(values)) {
    const mapped = map(values[family] as T, family);
    if (mapped !== undefined) result[family] = mapped;
  }
  return result;
}
