/** The features that the lab and the tests detect, compared with the kernel. */

import { expect, test } from "bun:test";
import { missingFeatures } from "../../src/lab/kernel_features.ts";
import { runProgram } from "../../src/process/run_program.ts";

test("a feature that works is not missing, and trying it creates nothing that stays", async () => {
  const links = async () => (await runProgram("ip", ["-o", "link"])).stdout;
  const before = await links();
  expect(await missingFeatures(["tun", "vxlan"])).toEqual([]);
  expect(await links()).toBe(before);
});

test("a missing feature is a line with the reason and the module to load", async () => {
  // Without CAP_NET_ADMIN no kernel creates a device or a state, even if it supports them.
  const program = [process.execPath, "tests/vm/missing_features.ts"];
  const result = await runProgram("setpriv", ["--bounding-set=-net_admin", ...program]);
  expect(result.exitCode).toBe(1);
  const lines = result.stdout.trimEnd().split("\n");
  expect(lines).toHaveLength(5);
  for (const [index, module] of ["wireguard", "ipip", "ipip fou", "esp4", "esp6"].entries()) {
    expect(lines[index]).toMatch(
      /^this kernel has no .* \((Operation not permitted|No such file or directory)\); load /,
    );
    expect(lines[index]).toEndWith(module);
  }
});
