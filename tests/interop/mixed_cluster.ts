/** Clusters in which some hosts run Go flannel and some ours, and hosts change between them. */

import { systemClock } from "../../src/base/clock.ts";
import type { Family } from "../../src/addr/ip.ts";
import { prefixAddress } from "../../src/addr/prefix.ts";
import { pingAll } from "../../src/lab/ping_matrix.ts";
import { attachWorkloads, workloadAddresses } from "../../src/lab/workload.ts";
import { Cluster, type StoredLease } from "../support/cluster.ts";
import { FLANNELD, type Host } from "../support/host.ts";
import { provided } from "../support/provided.ts";

export type Kind = "Go" | "ours";

export interface MixedClusterOptions {
  /** One host for each. */
  readonly kinds: readonly Kind[];
  readonly families: readonly Family[];
  /** The network configuration's `Backend`. */
  readonly backend: Readonly<Record<string, unknown>>;
  readonly enableNftables?: boolean;
  /** Added to the environment of every daemon. */
  readonly env?: Readonly<Record<string, string>>;
}

export class MixedCluster implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly hosts: readonly MixedHost[];
  readonly #options: MixedClusterOptions;

  private constructor(cluster: Cluster, hosts: readonly MixedHost[], options: MixedClusterOptions) {
    this.cluster = cluster;
    this.hosts = hosts;
    this.#options = options;
  }

  /** Starts everything and puts a workload behind each host. */
  static async start(options: MixedClusterOptions): Promise<MixedCluster> {
    const programs = { Go: await goFlannel(), ours: FLANNELD };
    const { kinds, families } = options;
    const cluster = await Cluster.create({ hosts: kinds.length, families });
    try {
      const hosts = cluster.hosts.map((host, index) =>
        new MixedHost(host, { programs, kind: kinds[index] as Kind, env: options.env ?? {} })
      );
      const mixed = new MixedCluster(cluster, hosts, options);
      await mixed.configure({ enableNftables: options.enableNftables ?? false });
      // Not at once: of two Go nodes that read the same leases, each may draw the other's subnet.
      for (const host of hosts) await host.up(host.kind);
      await attachWorkloads(
        hosts.map(({ host }) => ({ host: host.station, network: host.subnet() })),
      );
      return mixed;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Writes the network configuration; daemons read it when they start. */
  async configure({ enableNftables }: { enableNftables: boolean }): Promise<void> {
    const { families, backend } = this.#options;
    await this.cluster.configure({
      EnableIPv4: families.includes(4),
      Network: NETWORKS[4],
      ...(families.includes(6) && { EnableIPv6: true, IPv6Network: NETWORKS[6] }),
      EnableNFTables: enableNftables,
      Backend: backend,
    });
  }

  /** The first host that runs this program. */
  first(kind: Kind): MixedHost {
    return firstOf(this.hosts, kind);
  }

  leaseOf(host: MixedHost): Promise<StoredLease> {
    return this.cluster.leaseOf(host.host);
  }

  /** What identifies the host in the store. */
  async entryOf(host: MixedHost): Promise<unknown> {
    const { key, value } = await this.leaseOf(host);
    return { key, value };
  }

  /** As `unansweredAmong`, of all hosts. */
  unanswered(): Promise<string[]> {
    return unansweredAmong(this.hosts);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }
}

/** The first of these hosts that runs this program. */
export function firstOf(hosts: readonly MixedHost[], kind: Kind): MixedHost {
  const host = hosts.find((host) => host.kind === kind);
  if (!host) throw new Error(`no host runs ${kind}`);
  return host;
}

/**
 * Pings every workload from every other at the cluster's full MTU; returns the failing pairs.
 *
 * The smallest MTU that any host gives out counts: for an IPv6 underlay Go flannel's vxlan
 * subtracts 20 bytes too few, so its own value is more than its packets can carry.
 */
export async function unansweredAmong(hosts: readonly MixedHost[]): Promise<string[]> {
  const mtuBytes = Math.min(...hosts.map(({ host }) => host.subnet().mtuBytes));
  const ends = hosts.map(({ host, kind }) => ({
    name: `${host.name}-${kind}`,
    namespace: host.station.workloadNamespace,
    addresses: workloadAddresses(host.subnet()),
    mtuBytes,
  }));
  const pings = await pingAll(ends, { timeoutMs: ANSWER_MS, clock: systemClock });
  if (pings.length === 0) throw new Error("nothing was pinged");
  return pings.filter((ping) => ping.milliseconds === undefined)
    .map(({ from, to, family }) => `${from} to ${to}, IPv${family}`);
}

/**
 * WireGuard is the slowest, when two ends begin at the same instant: each may keep another session,
 * and they notice after 15 s (WireGuard's paper, section 6).
 */
const ANSWER_MS = 40_000;

/** The overlay's networks. */
export const NETWORKS: Readonly<Record<Family, string>> = {
  4: "10.244.0.0/16",
  6: "fd00:10:244::/48",
};

/** Go flannel starts iptables some dozen times, which is slow in a virtual machine. */
const READY_MS = 120_000;

export class MixedHost {
  readonly host: Host;
  readonly #programs: Readonly<Record<Kind, string>>;
  readonly #env: Readonly<Record<string, string>>;
  #kind: Kind;

  constructor(
    host: Host,
    { programs, kind, env }: {
      readonly programs: Readonly<Record<Kind, string>>;
      readonly kind: Kind;
      readonly env: Readonly<Record<string, string>>;
    },
  ) {
    this.host = host;
    this.#programs = programs;
    this.#kind = kind;
    this.#env = env;
  }

  /** The program that runs, or ran last. */
  get kind(): Kind {
    return this.#kind;
  }

  /** Starts a program and waits until it reports that it is ready. */
  async up(kind: Kind): Promise<void> {
    this.#kind = kind;
    this.host.start({ binary: this.#programs[kind], flags: ["--ip-masq"], env: this.#env });
    await this.host.ready(READY_MS);
  }

  /** Ends the daemon and starts this one in its place, as an upgrade does. */
  async replaceBy(kind: Kind, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.host.daemon.stop(signal);
    await this.up(kind);
  }
}

/** The first address of a host's subnet, and the subnet itself. */
export function subnetOf(host: MixedHost, family: Family): { first: string; subnet: string } {
  const subnet = host.host.subnet().subnets[family];
  if (!subnet) throw new Error(`${host.host.name} has no IPv${family} subnet`);
  return { first: prefixAddress(subnet), subnet };
}

let goFlannelPath: Promise<string> | undefined;

/** Go flannel's executable, built the first time; a machine that cannot build it fails the test. */
export function goFlannel(): Promise<string> {
  goFlannelPath ??= provided("interop/go_flannel.sh", { timeoutMs: 900_000 });
  return goFlannelPath;
}
