/** The daemon gives memory back after its start, and works as before. */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Cluster } from "../support/cluster.ts";
import { DUAL } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

test(
  "a daemon needs fewer pages of its executable after its start, and follows its peers",
  async () => {
    await using cluster = await Cluster.create({ hosts: 3, families: [4, 6] });
    await cluster.configure({ ...DUAL, Backend: { Type: "vxlan" } });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const daemon = await one.up();
    const atStart = fileKb(daemon.pid);
    await eventually("pages of files were given back", 60_000, () => {
      return fileKb(daemon.pid) < atStart * 0.8;
    });
    await Promise.all([two.up(), cluster.host(3).up()]);
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    expect(await one.isReady()).toBe(true);
  },
  120_000,
);

/** The resident pages of files, in kB (proc_pid_status(5)). */
function fileKb(pid: number): number {
  const [, kb] = /^RssFile:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kb);
}
