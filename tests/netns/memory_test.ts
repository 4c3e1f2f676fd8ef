/** The daemon gives memory back after its start, and works as before. */

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Cluster } from "../support/cluster.ts";
import { DUAL } from "../support/networks.ts";
import { memoryMib } from "../support/process_memory.ts";
import { eventually } from "../support/wait.ts";

test(
  "a daemon needs fewer pages of its executable after its start, and follows its peers",
  async () => {
    await using cluster = await Cluster.create({ hosts: 3, families: [4, 6] });
    await cluster.configure({ ...DUAL, Backend: { Type: "vxlan" } });
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const daemon = await one.up();
    const atStart = memoryMib(daemon.pid).file;
    const codeAtStart = ownCodeKib(daemon.pid);
    expect(codeAtStart).toBeGreaterThan(3000);
    await eventually("pages of files were given back", 60_000, () => {
      return memoryMib(daemon.pid).file < atStart * 0.8 &&
        ownCodeKib(daemon.pid) < codeAtStart * 0.7;
    });
    await Promise.all([two.up(), cluster.host(3).up()]);
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    expect(await one.isReady()).toBe(true);
  },
  120_000,
);

/** Resident pages of the mappings with flanneld's own code, next to the runtime's variables. */
function ownCodeKib(pid: number): number {
  const smaps = readFileSync(`/proc/${pid}/smaps`, "utf8");
  let kib = 0;
  for (const mapping of smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)) {
    if (!/^\S+ rw-p .*\/flanneld$/m.test(mapping)) continue;
    const field = (name: string) =>
      Number(new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(mapping)?.[1]);
    kib += field("Rss") - field("Anonymous");
  }
  return kib;
}
