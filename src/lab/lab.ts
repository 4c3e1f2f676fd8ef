/**
 * A cluster on one machine: hosts, a datastore or etcd, a daemon and a workload on each host, and
 * pings between all workloads. A lab removes everything that it has created, also after a failure.
 */

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { valuesOf } from "../addr/family.ts";
import type { Family } from "../addr/ip.ts";
import type { Clock } from "../base/clock.ts";
import { bridgeNetfilterProblem } from "../firewall/firewall.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import type { DetachedProcess } from "../process/detached_process.ts";
import { bridgeAddress, parseSubnetFile, type SubnetFile } from "../subnet/subnet_file.ts";
import { backendConfig } from "./lab_backend.ts";
import { LabDatastore } from "./lab_datastore.ts";
import { LabEtcd } from "./lab_etcd.ts";
import type { HostReport, LabReport } from "./lab_report.ts";
import { spawnInNamespace } from "./namespace.ts";
import { rejectedNeighbours, rejectedText } from "./neighbour_table.ts";
import { type Ping, pingAll } from "./ping_matrix.ts";
import { poll } from "./poll.ts";
import { createTopology, type LabHost, planTopology, type Topology } from "./topology.ts";
import { TopologyRecord } from "./topology_record.ts";
import { attachWorkloads, workloadAddresses } from "./workload.ts";

export interface LabOptions {
  readonly hosts: number;
  readonly backend: BackendDescriptor;
  /** Families of the overlay and of the underlay. */
  readonly families: readonly Family[];
  readonly keep: boolean;
  /** The command that starts the daemon, without the daemon's flags. */
  readonly daemon: readonly string[];
  /** The command that starts flanneld, for its datastore; absent: a real etcd. */
  readonly datastore?: readonly string[];
}

/** What a lab runs with. */
export interface LabContext {
  readonly clock: Clock;
  /** Receives a line for each step. */
  progress(line: string): void;
  readonly signal: AbortSignal;
}

/** The beginning of the names of all labs. */
export const LAB_KIND = "fl-lab";

const STORE_TIMEOUT_MS = 15_000;
const READY_TIMEOUT_MS = 60_000;
/** Two user-space WireGuard peers that start at the same time may need 15 s for a handshake. */
const PING_TIMEOUT_MS = 30_000;
const ETCD_PREFIX = "/coreos.com/network";

/**
 * Builds a lab, pings all workloads, and removes the lab, unless `keep` is set and nothing failed.
 * Throws if it cannot be built, with the end of the log of the process that failed.
 */
export async function runLab(options: LabOptions, context: LabContext): Promise<LabReport> {
  const { clock, progress, signal } = context;
  const record = TopologyRecord.create(LAB_KIND, clock);
  const failed = new AbortController();
  let isKept = false;
  try {
    const report = await build(record, options, {
      ...context,
      signal: AbortSignal.any([signal, failed.signal]),
    });
    if (options.keep) {
      record.keep();
      isKept = true;
    }
    return report;
  } finally {
    failed.abort(); // ends the waits for the other hosts
    if (!isKept) {
      progress(`removing ${record.prefix}`);
      await record.remove();
    }
  }
}

/** Removes the lab of this name, or all orphaned ones; returns the names of those removed. */
export async function removeLabs(name: string | undefined, clock: Clock): Promise<string[]> {
  const labs = TopologyRecord.list(LAB_KIND, clock).filter((lab) =>
    name === undefined ? lab.isOrphan : lab.prefix === name
  );
  for (const lab of labs) await lab.remove();
  return labs.map((lab) => lab.prefix);
}

async function build(
  record: TopologyRecord,
  options: LabOptions,
  context: LabContext,
): Promise<LabReport> {
  const { clock, progress, signal } = context;
  const topology = planTopology({
    prefix: record.prefix,
    hostSegments: new Array<number>(options.hosts).fill(0),
    families: options.families,
  });
  progress(`${record.prefix}: ${options.hosts} hosts, backend ${options.backend.type}`);
  await createTopology(topology, signal);
  const endpoints = await startStore(record, topology, options, context);
  progress(`starting ${options.hosts} daemons`);
  const started = topology.hosts.map((host) => ({
    host,
    ...startDaemon(record, host, { command: options.daemon, endpoints, clock }),
  }));
  const ready = await Promise.all(started.map(async (daemon) => {
    const readiness = await waitForSubnetFile(daemon, { clock, signal });
    const bridges = valuesOf(readiness.network.subnets).map(bridgeAddress);
    progress(`${daemon.host.name} has ${bridges.join(" and ")} after ${readiness.readyMs} ms`);
    return { host: daemon.host, ...readiness };
  }));
  const hosts = ready.map(({ host, network, readyMs }): HostReport => ({
    name: host.name,
    publicAddresses: host.addresses,
    subnets: network.subnets,
    mtuBytes: network.mtuBytes,
    readyMs,
  }));
  const report = { lab: record.prefix, backend: options.backend.type, hosts };
  if (!options.backend.connectsNodes) {
    progress(`the ${options.backend.type} backend does not connect the nodes: no pings`);
    return { ...report, pings: [], ok: true };
  }
  const pings = await pingWorkloads(ready, options, context);
  return { ...report, pings, ok: pings.every((ping) => ping.milliseconds !== undefined) };
}

interface ReadyHost {
  readonly host: LabHost;
  readonly network: SubnetFile;
}

/** Attaches a workload to each host, and pings each from every other. */
async function pingWorkloads(
  ready: readonly ReadyHost[],
  options: LabOptions,
  { clock, progress, signal }: LabContext,
): Promise<Ping[]> {
  await attachWorkloads(ready, signal);
  progress("pinging every workload from every other at full MTU");
  const ends = ready.map(({ host, network }) => ({
    name: host.name,
    namespace: host.workloadNamespace,
    addresses: workloadAddresses(network),
    mtuBytes: network.mtuBytes,
  }));
  const rejectedBefore = rejectedNeighbours();
  const timeoutMs = PING_TIMEOUT_MS;
  const pings = await pingAll(ends, { timeoutMs, isPatient: true, clock, signal });
  const rejected = (rejectedNeighbours() ?? 0) - (rejectedBefore ?? 0);
  if (rejected > 0) progress(rejectedText(rejected, options));
  return pings;
}

/** Starts the datastore or etcd, with the network's configuration; returns its endpoints. */
async function startStore(
  record: TopologyRecord,
  topology: Topology,
  options: LabOptions,
  { clock, progress, signal }: LabContext,
): Promise<string> {
  const directory = join(record.directory, "store");
  mkdirSync(directory, { mode: 0o700 });
  const config = networkConfig(options);
  if (options.datastore !== undefined) {
    progress("starting the datastore");
    const command = options.datastore;
    const datastore = new LabDatastore(topology.etcd, { command, directory, config, clock });
    record.addProcess(datastore.pid);
    await datastore.ready(STORE_TIMEOUT_MS, signal);
    return datastore.endpoints;
  }
  progress("starting etcd");
  const etcd = new LabEtcd(topology.etcd, { directory, clock });
  record.addProcess(etcd.pid);
  await etcd.ready(STORE_TIMEOUT_MS, signal);
  await etcd.put(`${ETCD_PREFIX}/config`, JSON.stringify(config));
  return etcd.endpoints;
}

interface StartedDaemon {
  readonly process: DetachedProcess;
  readonly subnetFile: string;
  readonly logFile: string;
  readonly startedMs: number;
}

function startDaemon(
  record: TopologyRecord,
  host: LabHost,
  daemon: { command: readonly string[]; endpoints: string; clock: Clock },
): StartedDaemon {
  const directory = join(record.directory, host.name);
  mkdirSync(join(directory, "run"), { recursive: true, mode: 0o700 });
  const subnetFile = join(directory, "subnet.env");
  const logFile = join(directory, "flanneld.log");
  const startedMs = daemon.clock.nowMs();
  const process = spawnInNamespace(host.namespace, {
    runDirectory: join(directory, "run"),
    logFile,
    command: [
      ...daemon.command,
      `--etcd-endpoints=${daemon.endpoints}`,
      `--subnet-file=${subnetFile}`,
    ],
  });
  record.addProcess(process.pid);
  return { process, subnetFile, logFile, startedMs };
}

/** Throws with the end of the daemon's log if the daemon exits or is too slow. */
async function waitForSubnetFile(
  { process, subnetFile, logFile, startedMs, host }: StartedDaemon & { readonly host: LabHost },
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<{ network: SubnetFile; readyMs: number }> {
  let exitCode: number | undefined;
  void process.exited.then((code) => exitCode = code);
  const fault = (what: string) =>
    new Error(`the daemon of ${host.name} ${what}; end of its log:\n${logEnd(logFile)}`);
  const timeoutMs = startedMs + READY_TIMEOUT_MS - clock.nowMs();
  // The file is renamed into place: it is complete as soon as it exists.
  const isDone = () => exitCode !== undefined || existsSync(subnetFile);
  await poll(isDone, { clock, intervalMs: 5, timeoutMs, signal });
  if (!existsSync(subnetFile)) {
    throw fault(
      exitCode === undefined
        ? `has no subnet after ${READY_TIMEOUT_MS / 1000} s`
        : `exited with status ${exitCode}`,
    );
  }
  const readyMs = Math.round(clock.nowMs() - startedMs);
  return { network: parseSubnetFile(readFileSync(subnetFile, "utf8")), readyMs };
}

function networkConfig({ backend, families, hosts }: LabOptions): object {
  const [hasIpv4, hasIpv6] = [families.includes(4), families.includes(6)];
  const enabled = { ...(hasIpv4 && { 4: true }), ...(hasIpv6 && { 6: true }) };
  return {
    EnableIPv4: hasIpv4,
    ...(hasIpv4 && { Network: hosts > 200 ? "10.0.0.0/8" : "10.244.0.0/16", SubnetLen: 24 }),
    ...(hasIpv6 && { EnableIPv6: true, IPv6Network: "fd00:10:244::/48" }),
    // The lab does not load br_netfilter: it changes no settings of the machine.
    ...(bridgeNetfilterProblem(enabled) !== undefined && { EnableNFTables: true }),
    Backend: backendConfig(backend, families),
  };
}

function logEnd(path: string): string {
  return readFileSync(path, "utf8").trimEnd().split("\n").slice(-10).join("\n");
}
