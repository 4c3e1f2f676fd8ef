/** `flanneld lab` with each backend that some kernels lack, on one that has what they need. */

import { expect, test } from "bun:test";
import { BACKENDS } from "../../src/backend/backend_registry.ts";
import { runProgram } from "../../src/process/run_program.ts";
import { FLANNELD } from "../support/host.ts";

/** tests/netns tries the others. */
const types = BACKENDS.types.filter((type) => {
  const { lab } = BACKENDS.find(type) ?? {};
  return lab?.oneOf !== undefined && type !== "vxlan";
});

test("four backends need features that some kernels lack", () => {
  expect(types).toEqual(["ipip", "ipsec", "udp", "wireguard"]);
});

test.each(types)("a lab with %s pings every pair", async (type) => {
  const result = await runProgram(FLANNELD, ["lab", "--hosts=3", `--backend=${type}`, "--json"], {
    timeoutMs: 350_000,
  });
  expect(result.stderr).toContain("pinging every workload");
  const report = JSON.parse(result.stdout);
  expect(report).toMatchObject({ backend: type, ok: true });
  expect(report.pings).toHaveLength(6);
  expect(result.exitCode).toBe(0);
}, 360_000);
