/**
 * Loaded before the tests of a mutation run: counts, stops a mutant that loops without end, and
 * lets property tests try fewer inputs, for they run once for each mutant.
 */

import { afterAll, mock } from "bun:test";
import * as fastCheck from "fast-check";
import { writeFileSync } from "node:fs";

/** Inputs of a property test; without it, as many as the test asks for. */
const maxRuns = Number(process.env.FLANNELD_MUTATION_INPUTS ?? Infinity);

interface Instrumentation {
  hitCount?: number;
  hitLimit?: number;
  mutantCoverage?: { readonly static: Readonly<Record<string, number>> };
}

const instrumentation =
  ((globalThis as Record<string, unknown>).__stryker__ ??= {}) as Instrumentation;
const coverage = process.env.FLANNELD_MUTATION_COVERAGE;
const limit = process.env.FLANNELD_MUTATION_MAX_HITS;

if (limit !== undefined) {
  instrumentation.hitCount = 0;
  instrumentation.hitLimit = Number(limit);
}
if (coverage !== undefined) {
  afterAll(() => {
    writeFileSync(coverage, JSON.stringify(instrumentation.mutantCoverage?.static ?? {}));
  });
}

// Taken before the module and its imports are replaced.
const everything = { ...fastCheck };
const assertShortly = ((property: never, parameters: { readonly numRuns?: number } = {}) => {
  const numRuns = Math.min(parameters.numRuns ?? 100, maxRuns);
  return everything.assert(property, { ...parameters, numRuns });
}) as typeof fastCheck.assert;
const shortened = { ...everything, assert: assertShortly };
await mock.module("fast-check", () => ({ ...shortened, default: shortened }));
