/**
 * `--kube-subnet-mgr` in a large cluster, with a real API server: start, memory and log, heartbeats
 * of the other nodes, many nodes that leave at once, and more nodes than Go flannel's queue holds.
 */

import type { Bench } from "./bench.ts";
import { memoryMib } from "../support/process_memory.ts";
import { entryCounts, routePrefixes } from "./kernel_entries.ts";
import { KubeHosts, type KubeRun, receivedBytes } from "./kube_hosts.ts";
import { createKubeNodes, deleteKubeNodes, sendHeartbeats } from "./kube_nodes.ts";
import { type StartTimes, startTimes, untilProgrammed } from "./start.ts";
import { median, type Row } from "./table.ts";

export async function benchKube(bench: Bench): Promise<Row[]> {
  const { repetitions } = bench.sizes;
  const kube = await KubeHosts.create({ hosts: 2 * repetitions + 4 });
  return await bench.with(kube, () => Promise.race([new KubeBench(bench, kube).run(), tooLong()]));
}

/** On an idle machine, all of it takes five minutes. */
function tooLong(): Promise<never> {
  const message = `kube: not done after ${LIMIT_MS / 60_000} min; run it on an idle machine`;
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(message)), LIMIT_MS).unref();
  });
}

/** A quantity of each program. */
interface Both<T> {
  readonly ours: T;
  readonly theirs: T;
}

async function ofBoth<T, U>(both: Both<T>, of: (one: T) => Promise<U> | U): Promise<Both<U>> {
  const [ours, theirs] = await Promise.all([of(both.ours), of(both.theirs)]);
  return { ours, theirs };
}

class KubeBench {
  readonly #bench: Bench;
  readonly #kube: KubeHosts;
  readonly #nodes: number;
  readonly #leaving: number;

  constructor(bench: Bench, kube: KubeHosts) {
    this.#bench = bench;
    this.#kube = kube;
    this.#nodes = bench.sizes.kubeNodes;
    this.#leaving = this.#nodes / 10;
  }

  async run(): Promise<Row[]> {
    const { admin } = this.#kube.cluster;
    const staying = this.#nodes - this.#leaving;
    await createKubeNodes(admin, { from: 0, to: staying, group: "stays" });
    await createKubeNodes(admin, { from: staying, to: this.#nodes, group: "leaves" });
    const starts = await this.#measureStarts();
    const pair = await this.#startPair();
    const rows = [
      ...starts,
      ...await this.#measureSizes(pair),
      ...await this.#measureHeartbeats(pair),
      ...await this.#measureLeaving(pair),
    ];
    await this.#kube.finish(pair.ours);
    await this.#kube.finish(pair.theirs);
    const more = this.#nodes * 6 / 5;
    // The names and addresses of those that have left are not used again.
    await createKubeNodes(admin, {
      from: this.#nodes,
      to: more + this.#leaving,
      group: "stays",
    });
    return [...rows, await this.#measureLargeStart(more)];
  }

  async #measureStarts(): Promise<Row[]> {
    const ours: StartTimes[] = [];
    const theirs: StartTimes[] = [];
    // In turn, so that a disturbance of the machine meets both.
    for (let repetition = 0; repetition < this.#bench.sizes.repetitions; repetition++) {
      theirs.push(await this.#startOnce("theirs"));
      ours.push(await this.#startOnce("ours"));
    }
    const row = (what: string, key: keyof StartTimes) =>
      this.#row(`${what}, with ${this.#nodes} nodes`, "s", {
        ours: median(ours.map((times) => times[key])),
        theirs: median(theirs.map((times) => times[key])),
      });
    return [
      row("start to subnet file", "subnetFileSeconds"),
      { ...row("start to the last kernel entry", "lastEntrySeconds"), goal: 8 },
      row("CPU time until then", "cpuSeconds"),
    ];
  }

  async #startOnce(program: keyof Both<unknown>): Promise<StartTimes> {
    const run = await this.#kube.start(this.#bench[program]);
    const { daemon, host, observer } = run;
    const { station } = host;
    const times = await startTimes(daemon, { host: station, observer, peers: this.#nodes });
    await this.#kube.finish(run);
    return times;
  }

  /** Both programs at once, each a node of the other's cluster, when their start is over. */
  async #startPair(): Promise<Both<KubeRun>> {
    const { ours, theirs } = this.#bench;
    const pair = { ours: await this.#kube.start(ours), theirs: await this.#kube.start(theirs) };
    await ofBoth(
      pair,
      ({ daemon, host }) => untilProgrammed(daemon, host.station, this.#nodes + 1),
    );
    await Bun.sleep(SETTLE_MS);
    return pair;
  }

  async #measureSizes(pair: Both<KubeRun>): Promise<Row[]> {
    const { ours, theirs } = await ofBoth(pair, ({ daemon }) => memoryMib(daemon.pid));
    const logKb = await ofBoth(pair, ({ daemon }) => daemon.logBytes / 1000);
    const among = `with ${this.#nodes} nodes`;
    const memoryRow = (what: string, key: keyof typeof ours) =>
      this.#row(`${what}, ${among}`, "MiB", { ours: ours[key], theirs: theirs[key] });
    return [
      { ...memoryRow("resident memory", "resident"), goal: 2 },
      memoryRow("resident memory without mapped files", "anonymous"),
      memoryRow("peak of the resident memory", "peak"),
      { ...this.#row(`log of the start, ${among}`, "kB", logKb), goal: 100 },
    ];
  }

  async #measureHeartbeats(pair: Both<KubeRun>): Promise<Row[]> {
    const cpuBefore = await ofBoth(pair, ({ daemon }) => daemon.cpuSeconds());
    const bytesBefore = await ofBoth(pair, receivedBytes);
    const count = await sendHeartbeats(this.#kube.cluster.admin, {
      nodes: this.#nodes - this.#leaving,
      perSecond: this.#nodes / HEARTBEAT_PERIOD_SECONDS,
      seconds: HEARTBEAT_SECONDS,
    });
    await Bun.sleep(DELIVERY_MS);
    const cpu = await ofBoth(pair, ({ daemon }) => daemon.cpuSeconds());
    const bytes = await ofBoth(pair, receivedBytes);
    const each = (after: Both<number>, before: Both<number>, factor: number): Both<number> => ({
      ours: (after.ours - before.ours) * factor / count,
      theirs: (after.theirs - before.theirs) * factor / count,
    });
    const what = `heartbeat of another node among ${this.#nodes}`;
    return [
      {
        ...this.#row(`${what}: CPU time`, "ms", each(cpu, cpuBefore, 1000)),
        goal: 2,
        note: `${count} heartbeats, ${Math.round(count / HEARTBEAT_SECONDS)} per second`,
      },
      this.#row(`${what}: received`, "kB", each(bytes, bytesBefore, 1 / 1000)),
    ];
  }

  async #measureLeaving(pair: Both<KubeRun>): Promise<Row[]> {
    const left = this.#nodes - this.#leaving + 1;
    const cpuBefore = await ofBoth(pair, ({ daemon }) => daemon.cpuSeconds());
    const begunMs = performance.now();
    const deleting = deleteKubeNodes(this.#kube.cluster.admin, "leaves")
      .then(() => (performance.now() - begunMs) / 1000);
    const gone = await ofBoth(pair, async (run) => {
      await this.#untilAtMost(run, left);
      return (performance.now() - begunMs) / 1000;
    });
    const deletedSeconds = await deleting;
    await Bun.sleep(DELIVERY_MS);
    const cpu = await ofBoth(pair, ({ daemon }) => daemon.cpuSeconds());
    const what = `${this.#leaving} nodes of ${this.#nodes} leave at once`;
    const note = `the server needed ${deletedSeconds.toPrecision(2)} s to delete them; flanneld ` +
      "keeps the entries of each for another second on purpose";
    return [
      { ...this.#row(`${what}: until the last entry is gone`, "s", gone), note },
      this.#row(`${what}: CPU time`, "ms", {
        ours: (cpu.ours - cpuBefore.ours) * 1000,
        theirs: (cpu.theirs - cpuBefore.theirs) * 1000,
      }),
    ];
  }

  /** Waits until the kernel holds the entries of at most so many peers. */
  async #untilAtMost({ daemon, host, observer }: KubeRun, peers: number): Promise<void> {
    const wanted = routePrefixes(observer) - this.#leaving;
    const deadlineMs = performance.now() + LEAVE_LIMIT_MS;
    for (;;) {
      if (routePrefixes(observer) <= wanted) {
        const { routes, neighbours, fdb } = await entryCounts(host.station.namespace);
        if (Math.max(routes, neighbours, fdb) <= peers) return;
      }
      await daemon.assertAlive();
      if (performance.now() > deadlineMs) {
        throw new Error(
          `entries of nodes that have left were there after ${LEAVE_LIMIT_MS / 1000} s`,
        );
      }
      await Bun.sleep(5);
    }
  }

  /** One after the other, each for a limited time. */
  async #measureLargeStart(peers: number): Promise<Row> {
    const ours = await this.#startLarge("ours", peers);
    const theirs = await this.#startLarge("theirs", peers);
    if (ours.entries < peers) throw new Error(`${ours.entries} of ${peers} nodes have entries`);
    const isTheirsUnfinished = theirs.entries < peers;
    const row = this.#row(`start to the last kernel entry, with ${peers} nodes`, "s", {
      ours: ours.seconds,
      theirs: theirs.seconds,
    });
    if (!isTheirsUnfinished) return row;
    const note = `by then, Go flannel had written the entries of ${theirs.entries} nodes`;
    return { ...row, isTheirsUnfinished, note };
  }

  async #startLarge(
    program: keyof Both<unknown>,
    peers: number,
  ): Promise<{ readonly seconds: number; readonly entries: number }> {
    const run = await this.#kube.start(this.#bench[program]);
    const { daemon, observer, host } = run;
    const wanted = routePrefixes(observer) + peers;
    const secondsSince = () => (performance.now() - daemon.startedAt) / 1000;
    while (routePrefixes(observer) < wanted && secondsSince() < LARGE_START_LIMIT_SECONDS) {
      await daemon.assertAlive();
      await Bun.sleep(5);
    }
    const seconds = secondsSince();
    const { routes, neighbours, fdb } = await entryCounts(host.station.namespace);
    await this.#kube.finish(run);
    return { seconds, entries: Math.min(routes, neighbours, fdb) };
  }

  #row(what: string, unit: Row["unit"], both: Both<number>): Row {
    return { what, unit, ...both, against: this.#bench.theirs.name };
  }
}

/** As in the part `memory`: Bun's collector makes up for the start once the program is idle. */
const SETTLE_MS = 20_000;
/** A kubelet may report as often (`nodeStatusUpdateFrequency`). */
const HEARTBEAT_PERIOD_SECONDS = 10;
const HEARTBEAT_SECONDS = 10;
/** By then, the programs have seen what the server has confirmed. */
const DELIVERY_MS = 2_000;
const LIMIT_MS = 480_000;
const LEAVE_LIMIT_MS = 60_000;
const LARGE_START_LIMIT_SECONDS = 60;
