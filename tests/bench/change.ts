/** One peer among many gets another VTEP MAC: how soon, and at what cost, the kernel has it. */

import type { Bench } from "./bench.ts";
import type { Program } from "./daemon.ts";
import { NeighbourMonitor } from "./kernel_entries.ts";
import { changeMac, type LeaseSet, macAt } from "./leases.ts";
import { untilProgrammed } from "./start.ts";
import { median, quantile, type Row } from "./table.ts";

export async function benchChange(bench: Bench): Promise<Row[]> {
  const set = await bench.leases(bench.sizes.large);
  const theirs = await measureChanges(bench, { program: bench.theirs, set, generation: 1 });
  const ours = await measureChanges(bench, { program: bench.ours, set, generation: 2 });
  const row = (
    what: string,
    value: (costs: ChangeCosts) => number,
    goal?: number,
  ): Row => ({
    ...(goal === undefined ? {} : { goal }),
    what: `one lease changed among ${set.peers.length}: ${what}`,
    unit: "ms",
    ours: value(ours),
    theirs: value(theirs),
    against: bench.theirs.name,
  });
  return [
    row("etcd put to kernel entries, median", (costs) => median(costs.latenciesMs)),
    row(
      "etcd put to kernel entries, 99th percentile",
      ({ latenciesMs }) => quantile(latenciesMs, 0.99),
    ),
    row("CPU time per change", (costs) => costs.cpuMs, 2),
  ];
}

interface ChangeCosts {
  /** From the call of etcd to the later one of the neighbour and the FDB entry. */
  readonly latenciesMs: readonly number[];
  readonly cpuMs: number;
}

async function measureChanges(
  bench: Bench,
  run: { program: Program; set: LeaseSet; generation: number },
): Promise<ChangeCosts> {
  const { program, set, generation } = run;
  const { host, observer } = bench.takeHost();
  // Without firewall rules: the idle part measures their periodic check, which would distort this.
  const flags = ["--iptables-forward-rules=false"];
  const daemon = bench.start(program, host, set, { flags });
  await untilProgrammed(daemon, host, set.peers.length);
  await using monitor = new NeighbourMonitor(host.namespace);
  await Bun.sleep(SETTLE_MS);
  const latenciesMs: number[] = [];
  const cpuBefore = daemon.cpuSeconds();
  for (let change = 0; change < bench.sizes.changes; change++) {
    const index = (change * 61) % set.peers.length;
    const peer = set.peers[index] as LeaseSet["peers"][number];
    const mac = macAt(index, generation);
    const startMs = performance.timeOrigin + performance.now();
    await changeMac(bench.etcd, peer, mac);
    const gateway = peer.subnet.replace(/\/.*/, "");
    const seenMs = await monitor.allSeen([gateway, peer.publicAddress], mac, 10_000);
    latenciesMs.push(seenMs - startMs);
    await Bun.sleep(PAUSE_MS);
  }
  const cpuMs = (daemon.cpuSeconds() - cpuBefore) * 1000 / bench.sizes.changes;
  await bench.finish(daemon, host, observer);
  return { latenciesMs, cpuMs };
}

/** By then, the work of the start is done; our daemon gives back memory 15 s after it. */
const SETTLE_MS = 20_000;
/** Changes come one at a time, further apart than any debounce. */
const PAUSE_MS = 100;
