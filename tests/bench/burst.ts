/** Many leases change or go at once, and a few one by one: how soon, and at what cost. */

import type { LabHost } from "../../src/lab/topology.ts";
import type { Bench } from "./bench.ts";
import type { BenchDaemon, Program } from "./daemon.ts";
import { entriesWithMac, entryCounts, routePrefixes } from "./kernel_entries.ts";
import { deletePeers, type LeaseSet, macAt, putPeers } from "./leases.ts";
import { untilProgrammed } from "./start.ts";
import type { Row } from "./table.ts";

export async function benchBurst(bench: Bench): Promise<Row[]> {
  const theirs = await measureBursts(bench, { program: bench.theirs, generation: 3 });
  const ours = await measureBursts(bench, { program: bench.ours, generation: 4 });
  const set = await bench.leases(bench.sizes.large);
  const peers = set.peers.length;
  const row = (
    key: keyof BurstCosts,
    what: string,
    { unit, goal }: { readonly unit: Row["unit"]; readonly goal?: number },
  ): Row => ({
    what,
    unit,
    ours: ours[key],
    theirs: theirs[key],
    against: bench.theirs.name,
    ...(goal !== undefined && { goal }),
  });
  const changed = `${changedPeers(set).length} leases of ${peers} change at once`;
  const left = `${peers} peers leave at once`;
  return [
    row("changeSeconds", `${changed}: until the last kernel entry`, { unit: "s" }),
    row("changeCpuMs", `${changed}: CPU time`, { unit: "ms", goal: BURST_GOAL }),
    row("removalCpuMs", `one peer of ${peers} leaves: CPU time`, { unit: "ms", goal: 2 }),
    {
      ...row("leaveSeconds", `${left}: until the last entry is gone`, { unit: "s" }),
      note: "ours stay for one second on purpose, because a node may write its lease again",
    },
    row("leaveCpuMs", `${left}: CPU time`, { unit: "ms", goal: BURST_GOAL }),
  ];
}

/** Three tenths of the CPU time. */
const BURST_GOAL = 3.3;

interface BurstCosts {
  readonly changeSeconds: number;
  readonly changeCpuMs: number;
  /** For one peer. */
  readonly removalCpuMs: number;
  readonly leaveSeconds: number;
  readonly leaveCpuMs: number;
}

interface BurstRun {
  readonly bench: Bench;
  readonly daemon: BenchDaemon;
  readonly host: LabHost;
  readonly observer: number;
  readonly set: LeaseSet;
}

async function measureBursts(
  bench: Bench,
  { program, generation }: { readonly program: Program; readonly generation: number },
): Promise<BurstCosts> {
  const set = await bench.leases(bench.sizes.large);
  const { host, observer } = bench.takeHost();
  // Without firewall rules: the idle part measures their periodic check, which would distort this.
  const flags = ["--iptables-forward-rules=false"];
  const daemon = bench.start(program, host, set, { flags });
  const run = { bench, daemon, host, observer, set };
  try {
    await untilProgrammed(daemon, host, set.peers.length);
    await Bun.sleep(START_SETTLE_MS);
    const change = await measureChange(run, generation);
    const removalCpuMs = await measureRemovals(run, generation);
    const leave = await measureLeaving(run);
    return {
      changeSeconds: change.seconds,
      changeCpuMs: change.cpuMs,
      removalCpuMs,
      leaveSeconds: leave.seconds,
      leaveCpuMs: leave.cpuMs,
    };
  } finally {
    await bench.finish(daemon, host, observer);
    await putPeers(bench.etcd, [...set.peers.entries()], 0);
  }
}

async function measureChange(run: BurstRun, generation: number): Promise<Costs> {
  const { bench, host, set } = run;
  const changed = changedPeers(set);
  const prefix = macAt(0, generation).slice(0, "02:00".length);
  return await measure(run, {
    start: () => putPeers(bench.etcd, changed, generation),
    isDone: async () => {
      const { neighbours, fdb } = await entriesWithMac(host.namespace, prefix);
      return Math.min(neighbours, fdb) >= changed.length;
    },
  });
}

/** The CPU time for one of several peers that leave one after the other. They come back. */
async function measureRemovals(run: BurstRun, generation: number): Promise<number> {
  const { bench, daemon, host, observer, set } = run;
  const removed = [...set.peers.entries()].slice(-REMOVALS);
  const before = routePrefixes(observer);
  const { cpuMs } = await measure(run, {
    start: async () => {
      for (const [, peer] of removed) {
        await deletePeers(bench.etcd, [peer]);
        await Bun.sleep(PAUSE_MS);
      }
    },
    isDone: () => Promise.resolve(routePrefixes(observer) <= before - removed.length),
  });
  await putPeers(bench.etcd, removed, generation);
  await untilProgrammed(daemon, host, set.peers.length);
  await Bun.sleep(SETTLE_MS);
  return cpuMs / removed.length;
}

async function measureLeaving(run: BurstRun): Promise<Costs> {
  const { bench, host, observer, set } = run;
  const others = routePrefixes(observer) - set.peers.length;
  // Go flannel leaves the FDB entry of a MAC address that a peer had before.
  const before = await entryCounts(host.namespace);
  const staleFdb = before.fdb - set.peers.length;
  return await measure(run, {
    start: () => deletePeers(bench.etcd, set.peers),
    isDone: async () => {
      if (routePrefixes(observer) > others) return false;
      const { routes, neighbours, fdb } = await entryCounts(host.namespace);
      return routes + neighbours === 0 && fdb <= staleFdb;
    },
  });
}

interface Costs {
  readonly seconds: number;
  readonly cpuMs: number;
}

async function measure(
  { daemon }: BurstRun,
  work: { readonly start: () => Promise<void>; readonly isDone: () => Promise<boolean> },
): Promise<Costs> {
  const cpuBefore = daemon.cpuSeconds();
  const startMs = performance.now();
  await work.start();
  while (!await work.isDone()) {
    await daemon.assertAlive();
    if (performance.now() - startMs > TIMEOUT_MS) {
      throw new Error(`the burst did not end within ${TIMEOUT_MS / 1000} s`);
    }
    await Bun.sleep(POLL_MS);
  }
  const seconds = (performance.now() - startMs) / 1000;
  // Work that follows the last entry counts.
  await Bun.sleep(AFTER_MS);
  return { seconds, cpuMs: (daemon.cpuSeconds() - cpuBefore) * 1000 };
}

/** Every tenth peer, with its index. */
function changedPeers({ peers }: LeaseSet): (readonly [number, LeaseSet["peers"][number]])[] {
  return [...peers.entries()].filter(([index]) => index % 10 === 0);
}

const REMOVALS = 20;
/** By then, the work of the start is done; our daemon gives back memory 15 s after it. */
const START_SETTLE_MS = 20_000;
const SETTLE_MS = 3_000;
const AFTER_MS = 1_500;
/** Removals come one at a time, further apart than any debounce. */
const PAUSE_MS = 100;
const POLL_MS = 50;
const TIMEOUT_MS = 120_000;
