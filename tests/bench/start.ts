/** From the start of the process to the subnet file, and to the last entry in the kernel. */

import type { LabHost } from "../../src/lab/topology.ts";
import type { Bench } from "./bench.ts";
import type { BenchDaemon, Program } from "./daemon.ts";
import { entryCounts, routePrefixes } from "./kernel_entries.ts";
import type { LeaseSet } from "./leases.ts";
import { median, type Row } from "./table.ts";

export async function benchStart(bench: Bench): Promise<Row[]> {
  const rows: Row[] = [];
  for (const count of [0, bench.sizes.large]) {
    const set = await bench.leases(count);
    const ours: StartTimes[] = [];
    const theirs: StartTimes[] = [];
    // In turn, so that a disturbance of the machine meets both.
    for (let repetition = 0; repetition < bench.sizes.repetitions; repetition++) {
      theirs.push(await measureStart(bench, bench.theirs, await bench.leases(count)));
      ours.push(await measureStart(bench, bench.ours, await bench.leases(count)));
    }
    rows.push(...startRows({ count: set.peers.length, ours, theirs, against: bench.theirs.name }));
  }
  rows.push(...await measureHugeStart(bench));
  return rows;
}

/** One start of each program, for a limited time: Go flannel does not finish it. */
async function measureHugeStart(bench: Bench): Promise<Row[]> {
  const count = bench.sizes.huge;
  const start = async (program: Program) => {
    const set = await bench.leases(count);
    const { host, observer } = bench.takeHost();
    const daemon = bench.start(program, host, set, { flags: ["--ip-masq"] });
    const entries = await untilProgrammedOrLate(daemon, host, count);
    const seconds = (performance.now() - daemon.startedAt) / 1000;
    const cpuSeconds = daemon.cpuSeconds();
    await bench.finish(daemon, host, observer);
    return { seconds, cpuSeconds, entries };
  };
  const theirs = await start(bench.theirs);
  const ours = await start(bench.ours);
  const common = {
    unit: "s",
    against: bench.theirs.name,
    ...unfinished(bench.theirs, { entries: theirs.entries, count }),
  } as const;
  const among = `with ${count} leases in etcd`;
  return [
    {
      what: `start to the last kernel entry, ${among}`,
      ours: ours.seconds,
      theirs: theirs.seconds,
      goal: 10,
      ...common,
    },
    {
      what: `CPU time until then, ${among}`,
      ours: ours.cpuSeconds,
      theirs: theirs.cpuSeconds,
      ...common,
    },
  ];
}

/** What a row says of a program that had not written all entries. */
export function unfinished(
  { name }: Program,
  { entries, count }: { readonly entries: number; readonly count: number },
): Pick<Row, "isTheirsUnfinished" | "note"> {
  if (entries >= count) return {};
  return {
    isTheirsUnfinished: true,
    note: `after ${HUGE_LIMIT_SECONDS} s, ${name} had written the entries of ${entries} peers`,
  };
}

export interface StartTimes {
  readonly subnetFileSeconds: number;
  readonly lastEntrySeconds: number;
  readonly cpuSeconds: number;
}

function startRows(
  result: {
    count: number;
    ours: readonly StartTimes[];
    theirs: readonly StartTimes[];
    against: string;
  },
): Row[] {
  const { count, against } = result;
  const row = (what: string, key: keyof StartTimes): Row => ({
    what,
    unit: "s",
    ours: median(result.ours.map((times) => times[key])),
    theirs: median(result.theirs.map((times) => times[key])),
    against,
  });
  const among = `with ${count} leases in etcd`;
  const file = row(`start to subnet file, ${among}`, "subnetFileSeconds");
  if (count === 0) return [file];
  return [
    file,
    { ...row(`start to the last kernel entry, ${among}`, "lastEntrySeconds"), goal: 10 },
    row(`CPU time until then, ${among}`, "cpuSeconds"),
  ];
}

async function measureStart(bench: Bench, program: Program, set: LeaseSet): Promise<StartTimes> {
  const { host, observer } = bench.takeHost();
  await Bun.sleep(100); // the observer enters the namespace
  const daemon = bench.start(program, host, set, { flags: ["--ip-masq"] });
  const times = await startTimes(daemon, { host, observer, peers: set.peers.length });
  await bench.finish(daemon, host, observer);
  return times;
}

/** Of a daemon that has just been started on a new host. */
export async function startTimes(
  daemon: BenchDaemon,
  { host, observer, peers }: {
    readonly host: LabHost;
    readonly observer: number;
    readonly peers: number;
  },
): Promise<StartTimes> {
  const before = routePrefixes(observer);
  const subnetFileSeconds = await secondsUntil(daemon, () => daemon.hasSubnetFile);
  let lastEntrySeconds = subnetFileSeconds;
  if (peers > 0) {
    const wanted = before + peers;
    lastEntrySeconds = await secondsUntil(daemon, () => routePrefixes(observer) >= wanted);
    lastEntrySeconds = Math.max(
      lastEntrySeconds,
      await secondsUntilComplete(daemon, host.namespace, peers) ?? 0,
    );
  }
  return { subnetFileSeconds, lastEntrySeconds, cpuSeconds: daemon.cpuSeconds() };
}

/** Start-up of any program here is far below this. */
const START_TIMEOUT_SECONDS = 120;
/** How long the bench waits for a start with the most leases. */
const HUGE_LIMIT_SECONDS = 100;

async function secondsUntil(daemon: BenchDaemon, isReached: () => boolean): Promise<number> {
  for (;;) {
    if (isReached()) return (performance.now() - daemon.startedAt) / 1000;
    await checkProgress(daemon);
    await Bun.sleep(2);
  }
}

/**
 * Both programs write a peer's route last, so once the routes are there nothing should be missing.
 * Checked by full dumps: `undefined` if the first one is complete, or else the time of one that is.
 */
async function secondsUntilComplete(
  daemon: BenchDaemon,
  namespace: string,
  peers: number,
): Promise<number | undefined> {
  for (let attempt = 0;; attempt++) {
    const { routes, neighbours, fdb } = await entryCounts(namespace);
    if (routes > peers || neighbours > peers || fdb > peers) {
      throw new Error(`more entries than peers: ${routes} ${neighbours} ${fdb} of ${peers}`);
    }
    if (routes === peers && neighbours === peers && fdb === peers) {
      return attempt === 0 ? undefined : (performance.now() - daemon.startedAt) / 1000;
    }
    await checkProgress(daemon);
  }
}

async function checkProgress(daemon: BenchDaemon): Promise<void> {
  await daemon.assertAlive();
  if (performance.now() - daemon.startedAt > START_TIMEOUT_SECONDS * 1000) {
    throw new Error(`the start did not end within ${START_TIMEOUT_SECONDS} s`);
  }
}

/** Waits until the kernel holds every peer's entries; for parts that measure what follows. */
export async function untilProgrammed(
  daemon: BenchDaemon,
  host: { namespace: string },
  peers: number,
): Promise<void> {
  await secondsUntil(daemon, () => daemon.hasSubnetFile);
  for (;;) {
    const { routes, neighbours, fdb } = await entryCounts(host.namespace);
    if (Math.min(routes, neighbours, fdb) >= peers) return;
    await checkProgress(daemon);
    await Bun.sleep(100);
  }
}

/** As `untilProgrammed`, for a limited time. Returns for how many peers the kernel has entries. */
export async function untilProgrammedOrLate(
  daemon: BenchDaemon,
  host: { namespace: string },
  peers: number,
): Promise<number> {
  for (;;) {
    const { routes, neighbours, fdb } = await entryCounts(host.namespace);
    const entries = Math.min(routes, neighbours, fdb, peers);
    const seconds = (performance.now() - daemon.startedAt) / 1000;
    if (daemon.hasSubnetFile && entries === peers) return entries;
    if (seconds > HUGE_LIMIT_SECONDS) return entries;
    await daemon.assertAlive();
    await Bun.sleep(100);
  }
}
