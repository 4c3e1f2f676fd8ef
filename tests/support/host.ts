/** One host of a test's cluster: its daemon, its kernel, its files. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Family } from "../../src/addr/ip.ts";
import { namespaceScript, spawnInNamespace } from "../../src/lab/namespace.ts";
import type { TopologyRecord } from "../../src/lab/topology_record.ts";
import type { LabHost } from "../../src/lab/topology.ts";
import { workloadAddresses } from "../../src/lab/workload.ts";
import { parseSubnetFile, type SubnetFile } from "../../src/subnet/subnet_file.ts";
import type { DetachedProcess } from "../../src/process/detached_process.ts";
import { kernelText, type MacNames } from "./kernel_text.ts";
import { type HttpAnswer, namespaceGet } from "./namespace_http.ts";
import { PingStream } from "./ping_stream.ts";
import { eventually } from "./wait.ts";

/** The program under test. */
export const FLANNELD = resolve(process.env["FLANNELD_BINARY"] ?? "dist/flanneld");

export interface StartOptions {
  /** Added after `--etcd-endpoints`, `--subnet-file` and the health port; a later flag wins. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly binary?: string;
  readonly workingDirectory?: string;
  /** The host whose /run it sees; by default its own. */
  readonly runOf?: Host;
  /** A problem of this machine to ignore: the host is ready although `/readyz` names it. */
  readonly despite?: RegExp;
  /** The flags that choose the store, in place of `--etcd-endpoints`. */
  readonly store?: readonly string[];
  /** Start with only `flags`. */
  readonly bare?: boolean;
}

const HEALTH_PORT = 8471;
/** A daemon starts, or fails to, within a second; in a virtual machine within half a minute. */
const START_MS = 150_000;

export class Host {
  readonly station: LabHost;
  readonly directory: string;
  readonly subnetFile: string;
  readonly endpoints: string;
  readonly #record: TopologyRecord;
  #daemon: Daemon | undefined;
  #starts = 0;
  #despite: RegExp | undefined;

  constructor(record: TopologyRecord, station: LabHost, endpoints: string) {
    this.#record = record;
    this.station = station;
    this.endpoints = endpoints;
    this.directory = join(record.directory, station.name);
    this.subnetFile = join(this.directory, "subnet.env");
    mkdirSync(join(this.directory, "run"), { recursive: true, mode: 0o700 });
  }

  get name(): string {
    return this.station.name;
  }

  /** Address on the underlay; empty when the underlay lacks the family. */
  address(family: Family): string {
    return this.station.addresses[family] ?? "";
  }

  /** The daemon started last. */
  get daemon(): Daemon {
    if (this.#daemon === undefined) throw new Error(`${this.name} has no daemon`);
    return this.#daemon;
  }

  /** Starts a daemon; the previous one has ended, or shares no files with it. */
  start(options: StartOptions = {}): Daemon {
    const number = ++this.#starts;
    const logFile = join(this.directory, `flanneld-${number}.log`);
    const flags = options.bare ? [] : [
      ...(options.store ?? [`--etcd-endpoints=${this.endpoints}`]),
      `--subnet-file=${this.subnetFile}`,
      "--healthz-ip=127.0.0.1",
      `--healthz-port=${HEALTH_PORT}`,
    ];
    const process = spawnInNamespace(this.station.namespace, {
      runDirectory: join((options.runOf ?? this).directory, "run"),
      logFile,
      command: [options.binary ?? FLANNELD, ...flags, ...(options.flags ?? [])],
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.workingDirectory === undefined
        ? {}
        : { workingDirectory: options.workingDirectory }),
    });
    this.#record.addProcess(process.pid);
    this.#despite = options.despite;
    this.#daemon = new Daemon(process, logFile);
    return this.#daemon;
  }

  /** Waits until the daemon says it is ready; throws with its log when it ends or does not. */
  async ready(timeoutMs = START_MS): Promise<void> {
    const { daemon } = this;
    let hasEnded = false;
    daemon.exited.then(() => hasEnded = true);
    try {
      await eventually(`${this.name} is ready`, timeoutMs, async () => {
        if (hasEnded) return true;
        return existsSync(this.subnetFile) && await this.isReady();
      });
    } catch (error) {
      throw new Error(`${(error as Error).message}; its log ends:\n${daemon.logEnd()}`);
    }
    if (hasEnded) throw new Error(`${this.name}'s daemon ended; its log ends:\n${daemon.logEnd()}`);
  }

  /** Whether the daemon is ready, or reports only the problems that it was started despite. */
  async isReady(): Promise<boolean> {
    const { status, body } = await this.http("/readyz");
    const problems = body.split("\n").filter((line) => line.startsWith("- "));
    if (status !== 503 || this.#despite === undefined) return status === 200;
    return problems.every((line) => this.#despite?.test(line));
  }

  /** Starts the daemon and waits until it is ready. */
  async up(options: StartOptions = {}): Promise<Daemon> {
    const daemon = this.start(options);
    await this.ready();
    return daemon;
  }

  /** GET from the daemon's health server; status 0 when nothing listens. */
  http(path: string, port: number = HEALTH_PORT): Promise<HttpAnswer> {
    return namespaceGet(this.station.namespace, { port, path });
  }

  /** The subnet file's text. */
  subnetText(): string {
    return readFileSync(this.subnetFile, "utf8");
  }

  subnet(): SubnetFile {
    return parseSubnetFile(this.subnetText());
  }

  /** Writes the subnet file of a previous run, so that the daemon reuses these subnets. */
  remember(subnets: { ipv4?: string; ipv6?: string; network?: string; network6?: string }): void {
    const lines = [
      subnets.network && `FLANNEL_NETWORK=${subnets.network}`,
      subnets.ipv4 && `FLANNEL_SUBNET=${subnets.ipv4}`,
      subnets.network6 && `FLANNEL_IPV6_NETWORK=${subnets.network6}`,
      subnets.ipv6 && `FLANNEL_IPV6_SUBNET=${subnets.ipv6}`,
    ];
    writeFileSync(this.subnetFile, lines.filter(Boolean).map((line) => `${line}\n`).join(""));
  }

  /** Address of the workload behind this host. */
  workload(family: Family): string {
    const address = workloadAddresses(this.subnet())[family];
    if (address === undefined) throw new Error(`${this.name} has no IPv${family} subnet`);
    return address;
  }

  /** Runs a shell script (sh -e) on the host; returns its output, throws when it fails. */
  sh(script: string): Promise<string> {
    return namespaceScript(this.station.namespace, `${script}\n`);
  }

  /** Devices, addresses, neighbours, forwarding entries and routes, as sorted text. */
  kernel(names?: MacNames): Promise<string> {
    return kernelText(this.station.namespace, names);
  }

  /** Starts a ping of another host's workload from this one's, by default every 10 ms. */
  ping(target: Host, family: Family = 4, intervalSeconds?: number): PingStream {
    const ping = new PingStream(this.station.workloadNamespace, {
      address: target.workload(family),
      ...(intervalSeconds === undefined ? {} : { intervalSeconds }),
      logFile: join(this.directory, `ping-${target.name}-${crypto.randomUUID()}.log`),
    });
    this.#record.addProcess(ping.pid);
    return ping;
  }
}

/** A started daemon. */
export class Daemon {
  readonly pid: number;
  readonly logFile: string;
  /** Exit code; 128 + the number of the signal that ended it. */
  readonly exited: Promise<number>;
  readonly #process: DetachedProcess;

  constructor(process: DetachedProcess, logFile: string) {
    this.#process = process;
    this.pid = process.pid;
    this.logFile = logFile;
    this.exited = process.exited;
  }

  /** Sends the signal and waits for the end. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<{ code: number; milliseconds: number }> {
    const before = performance.now();
    this.#process.signal(signal);
    const code = await this.exited;
    return { code, milliseconds: performance.now() - before };
  }

  /** Exit code; throws after `timeoutMs` with the end of the log. */
  async exitCode(timeoutMs = START_MS): Promise<number> {
    let code: number | undefined;
    this.exited.then((value) => code = value);
    try {
      return (await eventually(
        "the daemon ends",
        timeoutMs,
        () => code === undefined ? undefined : { code },
      )).code;
    } catch (error) {
      throw new Error(`${(error as Error).message}; its log ends:\n${this.logEnd()}`);
    }
  }

  log(): string {
    return readFileSync(this.logFile, "utf8");
  }

  /** Lines of the log that match. */
  logLines(pattern: RegExp): string[] {
    return this.log().split("\n").filter((line) => pattern.test(line));
  }

  logEnd(): string {
    return this.log().trimEnd().split("\n").slice(-15).join("\n");
  }
}
