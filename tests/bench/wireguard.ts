/** WireGuard peers: all of a cluster at the start, and one more among many. */

import type { Bench } from "./bench.ts";
import type { Program } from "./daemon.ts";
import { addPeer } from "./leases.ts";
import { PeerObserver } from "./peer_observer.ts";
import { median, type Row } from "./table.ts";

export async function benchWireguard(bench: Bench): Promise<Row[]> {
  const { small: count, repetitions } = bench.sizes;
  const ours: Costs[] = [];
  const theirs: Costs[] = [];
  // In turn, so that a disturbance of the machine meets both.
  for (let repetition = 0; repetition < repetitions; repetition++) {
    theirs.push(await measure(bench, bench.theirs, count));
    ours.push(await measure(bench, bench.ours, count));
  }
  const row = (what: string, unit: Row["unit"], value: (costs: Costs) => number): Row => ({
    what,
    unit,
    ours: median(ours.map(value)),
    theirs: median(theirs.map(value)),
    against: bench.theirs.name,
  });
  const one = `one WireGuard peer added among ${count}`;
  return [
    row(`start to the last of ${count} WireGuard peers`, "s", (costs) => costs.startSeconds),
    row("CPU time until then", "s", (costs) => costs.startCpuSeconds),
    {
      ...row(`${one}: etcd put to kernel, median`, "ms", (costs) => median(costs.latenciesMs)),
      note: "seen by reading all peers again and again, so exact to some 10 ms",
    },
    row(`${one}: CPU time`, "ms", (costs) => costs.cpuMs),
  ];
}

interface Costs {
  readonly startSeconds: number;
  readonly startCpuSeconds: number;
  /** From the call of etcd to the peer in the kernel. */
  readonly latenciesMs: readonly number[];
  /** For each peer. */
  readonly cpuMs: number;
}

async function measure(bench: Bench, program: Program, count: number): Promise<Costs> {
  const backend = "wireguard";
  const set = await bench.leases(count, { backend });
  const { host, observer } = bench.takeHost();
  await using peers = new PeerObserver(host.namespace);
  // Without firewall rules, which other parts measure.
  const flags = ["--iptables-forward-rules=false"];
  const daemon = bench.start(program, host, set, { flags });
  const startSeconds = (await peers.atLeast(count) - performance.timeOrigin - daemon.startedAt) /
    1000;
  const startCpuSeconds = daemon.cpuSeconds();
  await Bun.sleep(SETTLE_MS);
  const latenciesMs: number[] = [];
  const cpuBefore = daemon.cpuSeconds();
  for (let number = 0; number < ADDED; number++) {
    const startMs = performance.timeOrigin + performance.now();
    await addPeer(bench.etcd, set, { backend, number });
    latenciesMs.push(await peers.atLeast(count + number + 1) - startMs);
    await Bun.sleep(PAUSE_MS);
  }
  const cpuMs = (daemon.cpuSeconds() - cpuBefore) * 1000 / ADDED;
  await bench.finish(daemon, host, observer);
  return { startSeconds, startCpuSeconds, latenciesMs, cpuMs };
}

/** By then, the work of the start is done. */
const SETTLE_MS = 3_000;
const ADDED = 30;
/** Peers come one at a time, further apart than any debounce. */
const PAUSE_MS = 100;
