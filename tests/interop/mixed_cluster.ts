/**
 * Hosts of the lab on one etcd, each running Go flannel or ours, and changed from one to the other
 * under a running ping.
 */

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Family, IpAddress } from "../../src/addr/ip.ts";
import { type EtcdKey, LabEtcd } from "../../src/lab/etcd.ts";
import { spawnInNamespace } from "../../src/lab/namespace.ts";
import { type Ping, pingAll } from "../../src/lab/ping.ts";
import { TopologyRecord } from "../../src/lab/record.ts";
import { createTopology, type LabHost, planTopology } from "../../src/lab/topology.ts";
import {
  attachWorkloads,
  parseSubnetEnv,
  type SubnetEnv,
  workloadAddresses,
} from "../../src/lab/workload.ts";
import { run } from "../../src/process/process.ts";
import type { DaemonProcess } from "../../src/process/spawn_daemon.ts";

export type Kind = "Go" | "ours";

export interface MixedClusterOptions {
  /** One host for each. */
  readonly kinds: readonly Kind[];
  readonly families: readonly Family[];
  /** The network configuration's `Backend`. */
  readonly backend: Readonly<Record<string, unknown>>;
  readonly enableNftables?: boolean;
}

export const ETCD_PREFIX = "/coreos.com/network";

export class MixedCluster implements AsyncDisposable {
  readonly hosts: readonly MixedHost[];
  readonly etcd: LabEtcd;
  readonly #record: TopologyRecord;
  readonly #options: MixedClusterOptions;

  private constructor(
    record: TopologyRecord,
    parts: { options: MixedClusterOptions; etcd: LabEtcd; hosts: readonly MixedHost[] },
  ) {
    this.#record = record;
    this.#options = parts.options;
    this.etcd = parts.etcd;
    this.hosts = parts.hosts;
  }

  /** Starts everything and puts a workload behind each host. */
  static async start(options: MixedClusterOptions): Promise<MixedCluster> {
    const programs: Readonly<Record<Kind, string>> = {
      Go: await goFlannel(),
      ours: ourFlanneld(),
    };
    const record = TopologyRecord.create("flmixed");
    try {
      const { kinds, families } = options;
      const topology = planTopology({
        prefix: record.prefix,
        hostSegments: kinds.map(() => 0),
        families,
      });
      await createTopology(topology);
      const etcd = new LabEtcd(topology.etcd, { directory: record.directory });
      record.addProcess(etcd.pid);
      await etcd.ready(15_000);
      const hosts = topology.hosts.map((host) =>
        new MixedHost(host, { record, programs, endpoints: etcd.endpoints })
      );
      const cluster = new MixedCluster(record, { options, etcd, hosts });
      await cluster.configure({ enableNftables: options.enableNftables ?? false });
      hosts.forEach((host, index) => host.start(kinds[index] as Kind));
      await Promise.all(hosts.map((host) => host.ready()));
      await attachWorkloads(hosts.map(({ host, subnet }) => ({ host, subnet })));
      return cluster;
    } catch (error) {
      await record.remove();
      throw error;
    }
  }

  /** Writes the network configuration; daemons read it when they start. */
  async configure({ enableNftables }: { enableNftables: boolean }): Promise<void> {
    const { families, backend } = this.#options;
    await this.etcd.put(
      `${ETCD_PREFIX}/config`,
      JSON.stringify({
        EnableIPv4: families.includes(4),
        Network: "10.244.0.0/16",
        ...(families.includes(6) && { EnableIPv6: true, IPv6Network: "fd00:10:244::/48" }),
        EnableNFTables: enableNftables,
        Backend: backend,
      }),
    );
  }

  /** The first host that runs this program. */
  first(kind: Kind): MixedHost {
    const host = this.hosts.find((host) => host.kind === kind);
    if (!host) throw new Error(`no host runs ${kind}`);
    return host;
  }

  /**
   * Every workload from every other at the cluster's full MTU; those that stay without an answer.
   *
   * The smallest MTU that any host gives out counts: for an IPv6 underlay Go flannel's vxlan
   * subtracts 20 bytes too few, so its own value is more than its packets can carry.
   */
  async unanswered(): Promise<Ping[]> {
    const mtuBytes = Math.min(...this.hosts.map((host) => host.subnet.mtuBytes));
    const ends = this.hosts.map((host) => ({
      name: `${host.name}-${host.kind}`,
      namespace: host.host.workloadNamespace,
      addresses: workloadAddresses(host.subnet),
      mtuBytes,
    }));
    const pings = await pingAll(ends, { timeoutMs: 10_000 });
    if (pings.length === 0) throw new Error("nothing was pinged");
    return pings.filter((ping) => ping.milliseconds === undefined);
  }

  /** The key under which a host's subnet is in etcd. */
  async leaseOf(host: MixedHost): Promise<EtcdKey> {
    const network = host.subnetKeyStart;
    const keys = await this.etcd.list(`${ETCD_PREFIX}/subnets/${network}`);
    if (keys.length !== 1) throw new Error(`${keys.length} leases begin with ${network}`);
    return keys[0] as EtcdKey;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#record.remove();
  }
}

export class MixedHost {
  readonly host: LabHost;
  readonly name: string;
  readonly #directory: string;
  readonly #shared: SharedParts;
  #running: { kind: Kind; process: DaemonProcess } | undefined;

  constructor(host: LabHost, shared: SharedParts) {
    this.host = host;
    this.name = host.name;
    this.#shared = shared;
    this.#directory = join(shared.record.directory, host.name);
    mkdirSync(join(this.#directory, "run"), { recursive: true, mode: 0o700 });
  }

  /** What runs, or ran last. */
  get kind(): Kind {
    if (!this.#running) throw new Error(`nothing runs on ${this.name}`);
    return this.#running.kind;
  }

  get subnet(): SubnetEnv {
    return parseSubnetEnv(readFileSync(this.#subnetFile, "utf8"));
  }

  /** The subnet file as it stands. */
  get subnetText(): string {
    return readFileSync(this.#subnetFile, "utf8");
  }

  /** How the key of this host's lease begins: its IPv4 subnet, such as `10.244.7.0-24`. */
  get subnetKeyStart(): string {
    const gateway = this.subnet.gateways[4];
    if (!gateway) throw new Error(`${this.name} has no IPv4 subnet`);
    return `${gateway.address.replace(/\.1$/, ".0")}-${gateway.length}`;
  }

  start(kind: Kind): void {
    const process = spawnInNamespace(this.host.namespace, {
      runDirectory: join(this.#directory, "run"),
      logFile: this.#logFile,
      command: [
        this.#shared.programs[kind],
        `--etcd-endpoints=${this.#shared.endpoints}`,
        "--ip-masq",
      ],
    });
    this.#shared.record.addProcess(process.pid);
    this.#running = { kind, process };
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    this.#running?.process.signal(signal);
    await this.#running?.process.exited;
  }

  /**
   * Ends the daemon and starts this one in its place, as an upgrade does; returns when it is ready,
   * with the subnet file written anew.
   */
  async replaceBy(kind: Kind, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.stop(signal);
    // The file tells each program which subnet it had; its new version tells us that it is ready.
    const { mtimeMs, ino } = await Bun.file(this.#subnetFile).stat();
    this.start(kind);
    await this.#wait("writes its subnet file anew", async () => {
      const now = await Bun.file(this.#subnetFile).stat();
      return now.mtimeMs !== mtimeMs || now.ino !== ino;
    });
  }

  async ready(): Promise<void> {
    await this.#wait("writes its subnet file", () => existsSync(this.#subnetFile));
  }

  /** Runs `ip` in the host. */
  ip(...args: readonly string[]): Promise<string> {
    return output("ip", ["-n", this.host.namespace, ...args]);
  }

  bridge(...args: readonly string[]): Promise<string> {
    return output("bridge", ["-n", this.host.namespace, ...args]);
  }

  /** Runs a program in the host. */
  exec(program: string, ...args: readonly string[]): Promise<string> {
    return output("ip", ["netns", "exec", this.host.namespace, program, ...args]);
  }

  logEnd(): string {
    return readFileSync(this.#logFile, "utf8").trimEnd().split("\n").slice(-10).join("\n");
  }

  get #subnetFile(): string {
    return join(this.#directory, "run/flannel/subnet.env");
  }

  get #logFile(): string {
    return join(this.#directory, "flanneld.log");
  }

  async #wait(what: string, isDone: () => boolean | Promise<boolean>): Promise<void> {
    let ended: number | undefined;
    this.#running?.process.exited.then((code) => ended = code);
    const deadline = Date.now() + 30_000;
    while (!await isDone()) {
      if (ended !== undefined || Date.now() > deadline) {
        const fate = ended === undefined ? "takes more than 30 s" : `ended with code ${ended}`;
        throw new Error(`${this.name} (${this.kind}) ${fate} before it ${what}:\n${this.logEnd()}`);
      }
      await Bun.sleep(20);
    }
  }
}

interface SharedParts {
  readonly record: TopologyRecord;
  readonly programs: Readonly<Record<Kind, string>>;
  readonly endpoints: string;
}

/** A ping every 20 ms from one workload to another, for as long as something is done to a host. */
export class RunningPing {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly #received = new Set<number>();
  readonly #reader: Promise<void>;

  private constructor(from: MixedHost, target: IpAddress) {
    const namespace = from.host.workloadNamespace;
    this.#child = Bun.spawn(
      ["ip", "netns", "exec", namespace, "ping", "-n", "-i", "0.02", target],
      {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "inherit",
      },
    );
    this.#reader = this.#read();
  }

  /** Returns once answers come. */
  static async start(from: MixedHost, to: MixedHost, family: Family): Promise<RunningPing> {
    const target = workloadAddresses(to.subnet)[family];
    if (!target) throw new Error(`${to.name} has no workload for IPv${family}`);
    const ping = new RunningPing(from, target);
    await ping.#nextAnswers();
    return ping;
  }

  /** Ends it and returns the number of echo requests without an answer. Throws if none come now. */
  async lost(): Promise<number> {
    await this.#nextAnswers();
    this.#child.kill("SIGINT");
    await this.#child.exited;
    await this.#reader;
    // Sequence numbers begin at 1; a request that was under way at the end does not count.
    return Math.max(...this.#received) - this.#received.size;
  }

  async #nextAnswers(): Promise<void> {
    const before = this.#received.size;
    const deadline = Date.now() + 10_000;
    while (this.#received.size < before + 10) {
      if (Date.now() > deadline) {
        this.#child.kill("SIGKILL");
        throw new Error("the ping gets no answers");
      }
      await Bun.sleep(20);
    }
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of this.#child.stdout) {
      text += decoder.decode(chunk, { stream: true });
      for (const [, sequence] of text.matchAll(/icmp_seq=(\d+) .*time=/g)) {
        this.#received.add(Number(sequence));
      }
      text = text.slice(text.lastIndexOf("\n") + 1);
    }
  }
}

/** Repeats `check` until it no longer throws; after 10 s its error is the test's. */
export async function eventually(check: () => Promise<void>): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await Bun.sleep(100);
    }
  }
}

async function output(program: string, args: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await run(program, args);
  if (exitCode !== 0) throw new Error(`${program} ${args.join(" ")}: ${stderr.trim()}`);
  return stdout;
}

let goFlannelPath: Promise<string> | undefined;

/** Go flannel's executable, built the first time; a machine that cannot build it fails the test. */
function goFlannel(): Promise<string> {
  goFlannelPath ??= (async () => {
    const script = new URL("go_flannel.sh", import.meta.url).pathname;
    const { exitCode, stdout, stderr } = await run("bash", [script], { timeoutMs: 900_000 });
    if (exitCode !== 0) throw new Error(`Go flannel is not available: ${stderr.trim()}`);
    return stdout.trim();
  })();
  return goFlannelPath;
}

/** `FLANNELD` names another executable than the one that compile.sh made. */
function ourFlanneld(): string {
  const path = process.env["FLANNELD"] ?? new URL("../../dist/flanneld", import.meta.url).pathname;
  if (!existsSync(path)) throw new Error(`there is no ${path}; make it with: bash compile.sh`);
  return path;
}
