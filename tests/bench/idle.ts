/** What a node costs when nothing happens: CPU time and process starts, in both rule modes. */

import type { LabHost } from "../../src/lab/topology.ts";
import type { Bench } from "./bench.ts";
import type { BenchDaemon, Program } from "./daemon.ts";
import { ExecTrace } from "./exec_trace.ts";
import { untilProgrammed } from "./start.ts";
import type { Measured, Row } from "./table.ts";
import { type ThreadActivity, threadActivity, threadTable } from "./thread_activity.ts";

export async function benchIdle(bench: Bench): Promise<Measured> {
  const seconds = bench.sizes.idleSeconds;
  const rows: Row[] = [];
  const threads: ThreadActivity[] = [];
  for (const nftables of [false, true]) {
    const mode = nftables ? "nftables" : "iptables";
    const theirs = await startIdle(bench, bench.theirs, nftables);
    const ours = await startIdle(bench, bench.ours, nftables);
    await Bun.sleep(SETTLE_MS);
    // Side by side: each is idle almost all the time, and both meet the same machine.
    const [theirCosts, ourCosts] = await Promise.all([
      measureIdle(theirs.daemon, seconds),
      measureIdle(ours.daemon, seconds),
    ]);
    for (const node of [theirs, ours]) await bench.finish(node.daemon, node.host, node.observer);
    const what = `idle for ${seconds} s with ${bench.sizes.small} peers, ${mode}`;
    threads.push(
      ...ourCosts.threads.map((thread) => ({ ...thread, program: `${bench.ours.name}, ${mode}` })),
      ...theirCosts.threads.map((thread) => ({
        ...thread,
        program: `${bench.theirs.name}, ${mode}`,
      })),
    );
    const against = bench.theirs.name;
    rows.push(
      {
        what: `${what}: CPU time`,
        unit: "ms",
        ours: ourCosts.cpuMs,
        theirs: theirCosts.cpuMs,
        against,
        // In nftables mode, Go flannel checks nothing.
        ...(nftables ? { limit: IDLE_MS_PER_SECOND * seconds } : { goal: 20 }),
      },
      {
        what: `${what}: processes started`,
        unit: "processes",
        ours: ourCosts.processes,
        theirs: theirCosts.processes,
        against,
        goal: 20,
      },
    );
  }
  return { rows, details: threadTable(threads, seconds) };
}

interface IdleNode {
  readonly daemon: BenchDaemon;
  readonly host: LabHost;
  readonly observer: number;
}

async function startIdle(bench: Bench, program: Program, nftables: boolean): Promise<IdleNode> {
  const set = await bench.leases(bench.sizes.small, { nftables, keepOthers: true });
  const { host, observer } = bench.takeHost();
  const daemon = bench.start(program, host, set, { flags: ["--ip-masq"] });
  await untilProgrammed(daemon, host, set.peers.length);
  return { daemon, host, observer };
}

interface IdleCosts {
  readonly cpuMs: number;
  readonly processes: number;
  readonly threads: readonly Omit<ThreadActivity, "program">[];
}

async function measureIdle(daemon: BenchDaemon, seconds: number): Promise<IdleCosts> {
  using trace = await ExecTrace.start(daemon.pid, `flbench-${daemon.pid}`);
  const cpuBefore = daemon.cpuSeconds();
  const activity = threadActivity(daemon.pid);
  await Bun.sleep(seconds * 1000);
  const cpuMs = (daemon.cpuSeconds() - cpuBefore) * 1000;
  return { cpuMs, processes: trace.programs().length, threads: activity.since() };
}

const IDLE_MS_PER_SECOND = 0.2;
/** By then, the work of the start is done; our daemon gives back memory 15 s after it. */
const SETTLE_MS = 25_000;
