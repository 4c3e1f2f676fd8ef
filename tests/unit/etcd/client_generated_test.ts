import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = new URL("../../../src/etcd/api", import.meta.url).pathname;

test("generating etcd's messages again changes nothing", () => {
  const out = mkdtempSync(join(tmpdir(), "generated-"));
  try {
    const run = Bun.spawnSync(["bash", join(folder, "generate.sh"), out]);
    if (run.exitCode !== 0) throw new Error(`generate.sh failed: ${run.stderr}`);
    for (const file of ["kv_pb.ts", "rpc_pb.ts"]) {
      expect(readFileSync(join(out, file), "utf8")).toBe(readFileSync(join(folder, file), "utf8"));
    }
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}, 30_000);
