/** `flanneld lab` with every backend that a lab can have, on a kernel that has what each needs. */

import { expect, test } from "bun:test";
import { BACKENDS } from "../../src/backend/backend_registry.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { FLANNELD } from "../support/host.ts";

/** Those without a lab, or without pings in it, are tried in tests/netns. */
const types = BACKENDS.types.filter((type) => {
  const { connectsNodes, lab } = BACKENDS.find(type) ?? {};
  return connectsNodes && lab?.unsupported === undefined;
});

test.each(types)("a lab with %s pings every pair", async (type) => {
  const result = await runProgram(FLANNELD, ["lab", "--hosts=3", `--backend=${type}`, "--json"], {
    timeoutMs: 170_000,
  });
  expect(result.stderr).toContain("pinging every workload");
  const report = JSON.parse(result.stdout);
  expect(report).toMatchObject({ backend: type, ok: true });
  expect(report.pings).toHaveLength(6);
  expect(result.exitCode).toBe(0);
}, 180_000);
