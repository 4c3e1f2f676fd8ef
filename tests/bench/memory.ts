/** Resident memory after the start, by number of leases. */

import type { Bench } from "./bench.ts";
import { memoryMib } from "../support/process_memory.ts";
import type { Program } from "./daemon.ts";
import type { LeaseSet } from "./leases.ts";
import { untilProgrammed } from "./start.ts";
import type { Row } from "./table.ts";

export async function benchMemory(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  for (const count of [0, bench.sizes.small, bench.sizes.large]) {
    const theirs = await measureMemory(bench, bench.theirs, await bench.leases(count));
    const ours = await measureMemory(bench, bench.ours, await bench.leases(count));
    const against = bench.theirs.name;
    const what = `resident memory with ${count} leases`;
    rows.push(
      { what, unit: "MiB", ours: ours.resident, theirs: theirs.resident, against },
      {
        what: `${what}, without mapped files`,
        unit: "MiB",
        ours: ours.anonymous,
        theirs: theirs.anonymous,
        against,
      },
    );
  }
  return rows;
}

async function measureMemory(
  bench: Bench,
  program: Program,
  set: LeaseSet,
): Promise<{ resident: number; anonymous: number }> {
  const { host, observer } = bench.takeHost();
  const daemon = bench.start(program, host, set, { flags: ["--ip-masq"] });
  await untilProgrammed(daemon, host, set.peers.length);
  await Bun.sleep(SETTLE_MS);
  const memory = memoryMib(daemon.pid);
  await bench.finish(daemon, host, observer);
  return memory;
}

/**
 * Bun's collector makes up for the start once the program has been idle, up to 13 s after the last
 * entry. Two collections of an idle Go program are at most two minutes apart; this is not idle.
 */
const SETTLE_MS = 20_000;
