/** Go flannel, as it is, with our datastore in etcd's place. */

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../src/process/process.ts";
import { FLANNELD } from "../support/host.ts";
import { goFlannel } from "./mixed_cluster.ts";

const directory = mkdtempSync(join(tmpdir(), "lab-test-"));
const env = { PATH: process.env["PATH"], TMPDIR: directory };
const lab = (...args: string[]) => run(FLANNELD, ["lab", ...args], { env, timeoutMs: 120_000 });

afterAll(() => rmSync(directory, { recursive: true, force: true }));

test.each(["--backend=vxlan", "--backend=host-gw --ipv6"])(
  "Go flannel finds its configuration, takes leases and follows those of the others (%s)",
  async (args) => {
    const flags = ["--hosts=4", ...args.split(" ")];
    const start = async () => {
      const result = await lab(...flags, `--daemon=${await goFlannel()}`, "--keep", "--json");
      return JSON.parse(result.stdout || "{}");
    };
    let report = await start();
    // Now and then, of Go nodes that start at once, some do not reach each other.
    for (let again = 0; again < 2 && !report.ok; again++) {
      await lab("down", report.lab);
      report = await start();
    }
    try {
      expect(report.ok).toBe(true);
      const log = readFileSync(join(directory, report.lab, "h1", "flanneld.log"), "utf8");
      expect(log).toContain("Wrote subnet file");
      // Ours would say its version first.
      expect(log).not.toContain("flanneld v");
    } finally {
      await lab("down", report.lab);
    }
  },
  180_000,
);
