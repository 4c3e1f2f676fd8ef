/** Loaded before the tests of a mutation run: counts, and stops a mutant that loops without end. */

import { afterAll } from "bun:test";
import { writeFileSync } from "node:fs";

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
