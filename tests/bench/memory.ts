/** The CPU time of the start, and resident memory after it, by number of leases. */

import type { Bench } from "./bench.ts";
import { memoryMib } from "../support/process_memory.ts";
import type { Program } from "./daemon.ts";
import type { LeaseSet } from "./leases.ts";
import { unfinished, untilProgrammedOrLate } from "./start.ts";
import type { GrowthSeries, Measured, Row } from "./table.ts";

export async function benchMemory(bench: Bench): Promise<Measured> {
  const rows: Row[] = [];
  const { small, large, huge } = bench.sizes;
  for (const count of [0, small, large, huge]) {
    const theirs = await measureMemory(bench, bench.theirs, await bench.leases(count));
    const ours = await measureMemory(bench, bench.ours, await bench.leases(count));
    const row = (series: GrowthSeries, what: string, unit: Row["unit"]): Row => ({
      what,
      unit,
      ours: ours[series],
      theirs: theirs[series],
      against: bench.theirs.name,
      point: { series, leases: count },
      ...(series === "cpu"
        ? unfinished(bench.theirs, { entries: theirs.entries, count })
        : { goal: 1 }),
    });
    const what = `resident memory with ${count} leases`;
    rows.push(
      row("resident", what, "MiB"),
      row("anonymous", `${what}, without mapped files`, "MiB"),
      row("cpu", `CPU time of the start with ${count} leases`, "s"),
    );
  }
  return { rows, details: PLOT };
}

/** `--record` writes the plot next to the page. */
const PLOT = "![Resident memory, memory without mapped files, and CPU time of the start, by " +
  "number of leases, of flanneld and Go flannel](growth.svg)";

async function measureMemory(
  bench: Bench,
  program: Program,
  set: LeaseSet,
): Promise<{ readonly [series in GrowthSeries]: number } & { readonly entries: number }> {
  const { host, observer } = bench.takeHost();
  const daemon = bench.start(program, host, set, { flags: ["--ip-masq"] });
  const entries = await untilProgrammedOrLate(daemon, host, set.peers.length);
  const cpu = daemon.cpuSeconds();
  await Bun.sleep(SETTLE_MS);
  const { resident, anonymous } = memoryMib(daemon.pid);
  await bench.finish(daemon, host, observer);
  return { resident, anonymous, cpu, entries };
}

/**
 * Bun's collector makes up for the start once the program has been idle, up to 13 s after the last
 * entry. Two collections of an idle Go program are at most two minutes apart; this is not idle.
 */
const SETTLE_MS = 20_000;
