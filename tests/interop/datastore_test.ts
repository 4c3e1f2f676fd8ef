/** Unmodified Go flannel with our datastore instead of etcd. */

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "../../src/process/run_program.ts";
import { FLANNELD } from "../support/host.ts";
import { goFlannel } from "./mixed_cluster.ts";

const directory = mkdtempSync(join(tmpdir(), "lab-test-"));
const env = { PATH: process.env["PATH"], TMPDIR: directory };
const lab = (...args: string[]) =>
  runProgram(FLANNELD, ["lab", ...args], { env, timeoutMs: 120_000 });

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** So many equal draws in a row are not an accident. */
const ATTEMPTS = 8;

test.each(["--backend=vxlan", "--backend=host-gw --ipv6"])(
  "Go flannel finds its configuration, takes leases and follows those of the others (%s)",
  async (args) => {
    const flags = ["--hosts=4", ...args.split(" "), `--daemon=${await goFlannel()}`];
    const start = () => lab(...flags, "--keep", "--json");
    let result = await start();
    for (let attempt = 1; attempt < ATTEMPTS && haveDrawnAlike(result); attempt++) {
      if (result.stdout !== "") await lab("down", JSON.parse(result.stdout).lab);
      result = await start();
    }
    if (result.stdout === "") throw new Error(`the lab ended:\n${result.stderr}`);
    const report = JSON.parse(result.stdout);
    try {
      expect(report.pings.filter((ping: { ok: boolean }) => !ping.ok)).toEqual([]);
      expect(report.ok).toBe(true);
      const log = readFileSync(join(directory, report.lab, "h1", "flanneld.log"), "utf8");
      expect(log).toContain("Wrote subnet file");
      // Ours would log its version first.
      expect(log).not.toContain("flanneld v");
    } finally {
      await lab("down", report.lab);
    }
  },
  900_000,
);

/**
 * Whether two of the nodes chose the same subnet, a fault of Go flannel with every store, etcd too.
 *
 * A node reads the leases, draws one of the first 100 free subnets in each family, and takes it if
 * the key that names them is not there yet (`allocateSubnet`, `createSubnet`). Of nodes that start
 * at once, two may have read the same leases. In one family they draw the same key now and then,
 * and the loser ends: it retries after an error that etcd does not give. In dual stack the key
 * names both subnets: two nodes that drew the same subnet in only one family both get their lease,
 * and the other nodes route that subnet to one or the other. Among four nodes that have all read
 * the same leases that is one start in 17 for each family.
 */
function haveDrawnAlike({ stdout, stderr }: { stdout: string; stderr: string }): boolean {
  if (stdout === "") return stderr.includes("subnet already exists");
  const { hosts } = JSON.parse(stdout) as { hosts: { subnets: Record<string, string> }[] };
  const subnets = hosts.flatMap((host) => Object.values(host.subnets));
  return new Set(subnets).size < subnets.length;
}
