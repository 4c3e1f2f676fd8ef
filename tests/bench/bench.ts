/** What every part of the bench shares: the programs, the hosts, one etcd, the sets of leases. */

import { existsSync } from "node:fs";
import { systemClock } from "../../src/base/clock.ts";
import { LabEtcd } from "../../src/lab/lab_etcd.ts";
import { ipBatch } from "../../src/lab/namespace.ts";
import { TopologyRecord } from "../../src/lab/topology_record.ts";
import {
  createTopology,
  type LabHost,
  planTopology,
  type Topology,
} from "../../src/lab/topology.ts";
import { startDetached } from "../../src/process/detached_process.ts";
import { BenchDaemon, type Program } from "./daemon.ts";
import { type BenchBackend, type LeaseSet, loadLeases, removeOthers } from "./leases.ts";

/** Each measured run takes an unused host. */
const HOSTS = 120;

export interface BenchSizes {
  /** Leases of the small and the large cluster. */
  readonly small: number;
  readonly large: number;
  /** Leases of the largest cluster, for which a start is measured once. */
  readonly huge: number;
  /** Nodes of the Kubernetes cluster. */
  readonly kubeNodes: number;
  /** How often a start is repeated; the median counts. */
  readonly repetitions: number;
  readonly changes: number;
  readonly idleSeconds: number;
}

export class Bench implements AsyncDisposable {
  readonly sizes: BenchSizes;
  readonly ours: Program;
  readonly theirs: Program;
  readonly #record: TopologyRecord;
  readonly #topology: Topology;
  readonly #etcd: LabEtcd;
  readonly #free: LabHost[];
  readonly #sets = new Map<string, Promise<LeaseSet>>();
  readonly #daemons = new Set<BenchDaemon>();
  readonly #resources = new Set<AsyncDisposable>();

  private constructor(
    parts: { sizes: BenchSizes; ours: Program; theirs: Program; record: TopologyRecord },
    topology: Topology,
    etcd: LabEtcd,
  ) {
    this.sizes = parts.sizes;
    this.ours = parts.ours;
    this.theirs = parts.theirs;
    this.#record = parts.record;
    this.#topology = topology;
    this.#etcd = etcd;
    this.#free = [...topology.hosts];
  }

  /** Builds the hosts and starts etcd. Throws if a program to measure is missing. */
  static async create(
    options: { sizes: BenchSizes; ours: string; theirs: Program },
  ): Promise<Bench> {
    for (const path of [options.ours, options.theirs.path]) {
      if (!existsSync(path)) throw new Error(`there is no ${path}`);
    }
    const record = TopologyRecord.create("flbench", systemClock);
    try {
      const topology = planTopology({
        prefix: record.prefix,
        hostSegments: Array.from({ length: HOSTS }, () => 0),
        families: [4],
      });
      await createTopology(topology);
      const etcd = new LabEtcd(topology.etcd, { directory: record.directory, clock: systemClock });
      record.addProcess(etcd.pid);
      await etcd.ready(10_000);
      const parts = { ...options, ours: { name: "ours", path: options.ours }, record };
      return new Bench(parts, topology, etcd);
    } catch (error) {
      await record.remove();
      throw error;
    }
  }

  get etcd(): LabEtcd {
    return this.#etcd;
  }

  /**
   * The leases of a cluster of `count` nodes, loaded once. Those of hosts measured before are
   * removed, unless such hosts are running still.
   */
  async leases(
    count: number,
    options: { nftables?: boolean; keepOthers?: boolean; backend?: BenchBackend } = {},
  ): Promise<LeaseSet> {
    const { backend = "vxlan", nftables: enableNftables = false } = options;
    const prefix = `/bench-${backend}-${count}${enableNftables ? "-nftables" : ""}`;
    let set = this.#sets.get(prefix);
    if (!set) {
      set = loadLeases(this.#etcd, { prefix, count, enableNftables, backend });
      this.#sets.set(prefix, set);
    }
    if (!options.keepOthers) await removeOthers(this.#etcd, await set);
    return set;
  }

  /** A host that no daemon has run on, with a process in its namespace to look through. */
  takeHost(): { host: LabHost; observer: number } {
    const host = this.#free.shift();
    if (!host) throw new Error(`more than ${HOSTS} hosts are needed`);
    return { host, observer: startObserver(host, this.#record) };
  }

  start(
    program: Program,
    host: LabHost,
    set: LeaseSet,
    options: { flags: readonly string[]; env?: Readonly<Record<string, string>> },
  ): BenchDaemon {
    const daemon = new BenchDaemon({
      program,
      host,
      directory: this.#record.directory,
      store: [`--etcd-endpoints=${this.#etcd.endpoints}`, `--etcd-prefix=${set.prefix}`],
      ...options,
    });
    this.#daemons.add(daemon);
    return daemon;
  }

  /** Stops a daemon and frees what its host holds in the kernel. */
  async finish(daemon: BenchDaemon, host: LabHost, observer: number): Promise<void> {
    await daemon.stop();
    this.#daemons.delete(daemon);
    process.kill(observer, "SIGKILL");
    await ipBatch([`netns del ${host.namespace}`]);
  }

  /** Disposes of what a part needs at the part's end, or when the bench is stopped before. */
  async with<T extends AsyncDisposable, R>(
    resource: T,
    use: (resource: T) => Promise<R>,
  ): Promise<R> {
    this.#resources.add(resource);
    try {
      return await use(resource);
    } finally {
      this.#resources.delete(resource);
      await resource[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const resource of this.#resources) await resource[Symbol.asyncDispose]();
    for (const daemon of this.#daemons) await daemon.stop();
    await this.#record.remove();
  }
}

/** Starts a process in a host's namespace, to look through its part of /proc; returns its pid. */
export function startObserver({ namespace }: LabHost, record: TopologyRecord): number {
  const sleeper = startDetached("ip", ["netns", "exec", namespace, "sleep", "infinity"], {
    logFile: `${record.directory}/observer.log`,
    env: { PATH: process.env["PATH"] ?? "" },
  });
  record.addProcess(sleeper.pid);
  return sleeper.pid;
}
