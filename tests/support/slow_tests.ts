/** What FLANNELD_SLOW_TESTS=1 makes longer; docs/testing.md lists it. */

const areSlow = process.env["FLANNELD_SLOW_TESTS"] === "1";

/** The first value by default, the second one with FLANNELD_SLOW_TESTS=1. */
export function slowly<T>(byDefault: T, slow: T): T {
  return areSlow ? slow : byDefault;
}

/** The first cases by default, all with FLANNELD_SLOW_TESTS=1. */
export function firstOf<T>(count: number, cases: readonly T[]): T[] {
  return cases.slice(0, areSlow ? undefined : count);
}

/** Every `step`th case by default, all with FLANNELD_SLOW_TESTS=1. */
export function sample<T>(step: number, cases: readonly T[]): T[] {
  return cases.filter((_, index) => areSlow || index % step === 0);
}
