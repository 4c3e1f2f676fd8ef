/** The daemon gives memory back after its start, and works as before. */

import { expect, test } from "bun:test";
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
    await eventually("pages of files were given back", 60_000, () => {
      return memoryMib(daemon.pid).file < atStart * 0.8;
    });
    await Promise.all([two.up(), cluster.host(3).up()]);
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    expect(await one.isReady()).toBe(true);
  },
  120_000,
);
