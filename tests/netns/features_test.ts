/** What the lab and the tests believe of the kernel, against the kernel. */

import { expect, test } from "bun:test";
import { missingFeatures } from "../../src/lab/kernel_features.ts";
import { runProgram } from "../../src/process/run_program.ts";

test("a feature that works is not missing, and trying it creates nothing that stays", async () => {
  const links = async () => (await runProgram("ip", ["-o", "link"])).stdout;
  const before = await links();
  expect(await missingFeatures(["tun", "vxlan"])).toEqual([]);
  expect(await links()).toBe(before);
});

test("one that does not is a line with the reason and the module to load", async () => {
  // Without CAP_NET_ADMIN no kernel makes a device or a state, if it knows of it at all.
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
