/** A value for each enabled address family. */

import { FAMILIES, type Family } from "./ip.ts";

export interface PerFamily<T> {
  readonly 4?: T;
  readonly 6?: T;
}

/** The families that have a value, IPv4 first. */
export function familiesOf(values: PerFamily<unknown>): Family[] {
  return FAMILIES.filter((family) => values[family] !== undefined);
}

/** The families that have a value, each with it, IPv4 first. */
export function entriesOf<T>(values: PerFamily<T>): [Family, T][] {
  return FAMILIES.flatMap((family) => {
    const value = values[family];
    return value === undefined ? [] : [[family, value] as [Family, T]];
  });
}

/** The values, IPv4 first. */
export function valuesOf<T>(values: PerFamily<T>): T[] {
  return entriesOf(values).map(([, value]) => value);
}

/** Maps each value; a result of `undefined` leaves its family out. */
export function mapFamilies<T, U>(
  values: PerFamily<T>,
  map: (value: T, family: Family) => U | undefined,
): PerFamily<U> {
  const result: { 4?: U; 6?: U } = {};
  for (const [family, value] of entriesOf(values)) {
    const mapped = map(value, family);
    if (mapped !== undefined) result[family] = mapped;
  }
  return result;
}
