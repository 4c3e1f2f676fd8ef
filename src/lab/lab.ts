/**
 * A cluster on one machine: N hosts, a datastore or etcd, the daemon in each host, a workload behind
 * each, pings between all workloads. Everything it makes is removed again, whatever happens.
 */

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { mapFamilies } from "../addr/family.ts";
import type { Family } from "../addr/ip.ts";
import { makePrefix } from "../addr/prefix.ts";
import { findProgram, packageOf } from "../process/program_lookup.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";
import type { DetachedProcess } from "../process/detached_process.ts";
import { bridgeNetfilterProblem } from "../firewall/firewall.ts";
import { LabDatastore } from "./lab_datastore.ts";
import { LabEtcd } from "./lab_etcd.ts";
import { backendConfig } from "./lab_backend.ts";
import { spawnInNamespace } from "./namespace.ts";
import { refusalText, refusedNeighbours } from "./neighbour_table.ts";
import { pingAll } from "./ping_matrix.ts";
import { TopologyRecord } from "./topology_record.ts";
import type { HostReport, LabReport } from "./lab_report.ts";
import { createTopology, type LabHost, planTopology, type Topology } from "./topology.ts";
import { attachWorkloads, parseSubnetEnv, type SubnetEnv, workloadAddresses } from "./workload.ts";

export interface LabOptions {
  readonly hosts: number;
  readonly backend: BackendDescriptor;
  /** Families of the overlay and of the underlay. */
  readonly families: readonly Family[];
  readonly keep: boolean;
  /** Starts the daemon: a program and arguments that stand before the daemon's own. */
  readonly daemon: readonly string[];
  /** Starts this program, for its datastore; absent: a real etcd. */
  readonly datastore?: readonly string[];
}

/** Starts the name of everything that a lab makes. */
export const LAB_KIND = "fl-lab";

const STORE_TIMEOUT_MS = 15_000;
const READY_TIMEOUT_MS = 60_000;
/** Two ends of WireGuard in user space that begin at once may need 15 s to agree. */
const PING_TIMEOUT_MS = 30_000;
const ETCD_PREFIX = "/coreos.com/network";

/** Why a lab cannot run on this machine; one line each, with what to do. */
export function missingPrerequisites({ etcd }: { readonly etcd: boolean }): string[] {
  if (process.platform !== "linux") return ["a lab is made of Linux network namespaces"];
  const programs = ["ip", "ping", "mount", "unshare", ...(etcd ? ["etcd"] : [])];
  const faults = programs.filter((name) => !findProgram(name)).map((name) =>
    `there is no program ${name}; install it with: apt-get install ${packageOf(name) ?? name}`
  );
  if (process.getuid?.() !== 0) faults.unshift("a lab needs root, for network namespaces");
  return faults;
}

/**
 * Builds a lab, tries it and removes it (unless it is to be kept and the trial went through). Throws
 * when it cannot be built, with the end of the log of what failed.
 */
export async function runLab(
  options: LabOptions,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<LabReport> {
  const record = TopologyRecord.create(LAB_KIND);
  const failed = new AbortController();
  let isKept = false;
  try {
    const report = await build(
      record,
      options,
      progress,
      AbortSignal.any([signal, failed.signal]),
    );
    if (options.keep) {
      record.keep();
      isKept = true;
    }
    return report;
  } finally {
    failed.abort(); // whatever still waits for other hosts
    if (!isKept) {
      progress(`removing ${record.prefix}`);
      await record.remove();
    }
  }
}

/** Removes labs that nobody will remove otherwise, or one by name; returns the names removed. */
export async function removeLabs(name?: string): Promise<string[]> {
  const labs = TopologyRecord.list(LAB_KIND).filter((lab) =>
    name === undefined ? lab.isAbandoned : lab.prefix === name
  );
  for (const lab of labs) await lab.remove();
  return labs.map((lab) => lab.prefix);
}

async function build(
  record: TopologyRecord,
  options: LabOptions,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<LabReport> {
  const topology = planTopology({
    prefix: record.prefix,
    hostSegments: new Array<number>(options.hosts).fill(0),
    families: options.families,
  });
  progress(`${record.prefix}: ${options.hosts} hosts, backend ${options.backend.type}`);
  await createTopology(topology, signal);
  const endpoints = await startStore(record, topology, { options, progress, signal });
  progress(`starting ${options.hosts} daemons`);
  const started = topology.hosts.map((host) => ({
    host,
    ...startDaemon(record, host, { command: options.daemon, endpoints }),
  }));
  const ready = await Promise.all(started.map(async (daemon) => {
    const readiness = await waitForSubnet(daemon, signal);
    const gateways = Object.values(readiness.subnet.gateways).map(gatewayText);
    progress(`${daemon.host.name} has ${gateways.join(" and ")} after ${readiness.readyMs} ms`);
    return { host: daemon.host, ...readiness };
  }));
  const hosts = ready.map(({ host, subnet, readyMs }): HostReport => ({
    name: host.name,
    publicAddresses: host.addresses,
    subnets: mapFamilies(subnet.gateways, ({ address, length }) => makePrefix(address, length)),
    mtuBytes: subnet.mtuBytes,
    readyMs,
  }));
  const report = { lab: record.prefix, backend: options.backend.type, hosts };
  if (!options.backend.connectsNodes) {
    progress(`the ${options.backend.type} backend does not connect the nodes: no pings`);
    return { ...report, pings: [], ok: true };
  }
  await attachWorkloads(ready, signal);
  progress("pinging every workload from every other at full MTU");
  const ends = ready.map(({ host, subnet }) => ({
    name: host.name,
    namespace: host.workloadNamespace,
    addresses: workloadAddresses(subnet),
    mtuBytes: subnet.mtuBytes,
  }));
  const refusedBefore = refusedNeighbours();
  const pings = await pingAll(ends, { timeoutMs: PING_TIMEOUT_MS, isPatient: true, signal });
  const refused = (refusedNeighbours() ?? 0) - (refusedBefore ?? 0);
  if (refused > 0) progress(refusalText(refused, options));
  return { ...report, pings, ok: pings.every((ping) => ping.milliseconds !== undefined) };
}

/** Starts what holds the leases, with the network's configuration in it; returns its endpoints. */
async function startStore(
  record: TopologyRecord,
  topology: Topology,
  { options, progress, signal }: {
    readonly options: LabOptions;
    readonly progress: (line: string) => void;
    readonly signal: AbortSignal;
  },
): Promise<string> {
  const directory = join(record.directory, "store");
  mkdirSync(directory, { mode: 0o700 });
  const config = networkConfig(options);
  if (options.datastore !== undefined) {
    progress("starting the datastore");
    const command = options.datastore;
    const datastore = new LabDatastore(topology.etcd, { command, directory, config });
    record.addProcess(datastore.pid);
    await datastore.ready(STORE_TIMEOUT_MS, signal);
    return datastore.endpoints;
  }
  progress("starting etcd");
  const etcd = new LabEtcd(topology.etcd, { directory });
  record.addProcess(etcd.pid);
  await etcd.ready(STORE_TIMEOUT_MS, signal);
  await etcd.put(`${ETCD_PREFIX}/config`, JSON.stringify(config));
  return etcd.endpoints;
}

interface StartedDaemon {
  readonly process: DetachedProcess;
  readonly subnetFile: string;
  readonly logFile: string;
  readonly startedAt: number;
}

function startDaemon(
  record: TopologyRecord,
  host: LabHost,
  daemon: { command: readonly string[]; endpoints: string },
): StartedDaemon {
  const directory = join(record.directory, host.name);
  mkdirSync(join(directory, "run"), { recursive: true, mode: 0o700 });
  const subnetFile = join(directory, "subnet.env");
  const logFile = join(directory, "flanneld.log");
  const startedAt = performance.now();
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
  return { process, subnetFile, logFile, startedAt };
}

/** Waits for the subnet file; throws with the end of the log when the daemon ends or is too slow. */
async function waitForSubnet(
  daemon: StartedDaemon & { readonly host: LabHost },
  signal: AbortSignal,
): Promise<{ subnet: SubnetEnv; readyMs: number }> {
  const { subnetFile, logFile, startedAt, host } = daemon;
  let ended: number | undefined;
  daemon.process.exited.then((code) => ended = code);
  const fault = (what: string) =>
    new Error(`the daemon of ${host.name} ${what}; its log ends:\n${logEnd(logFile)}`);
  // The file is renamed into place: once it is there it is whole.
  while (!existsSync(subnetFile)) {
    signal.throwIfAborted();
    if (ended !== undefined) throw fault(`ended with exit code ${ended}`);
    if (performance.now() - startedAt > READY_TIMEOUT_MS) {
      throw fault(`has no subnet after ${READY_TIMEOUT_MS / 1000} s`);
    }
    await Bun.sleep(5);
  }
  const readyMs = Math.round(performance.now() - startedAt);
  return { subnet: parseSubnetEnv(readFileSync(subnetFile, "utf8")), readyMs };
}

function networkConfig({ backend, families, hosts }: LabOptions): object {
  const [hasIpv4, hasIpv6] = [families.includes(4), families.includes(6)];
  const enabled = { ...(hasIpv4 && { 4: true }), ...(hasIpv6 && { 6: true }) };
  return {
    EnableIPv4: hasIpv4,
    ...(hasIpv4 && { Network: hosts > 200 ? "10.0.0.0/8" : "10.244.0.0/16", SubnetLen: 24 }),
    ...(hasIpv6 && { EnableIPv6: true, IPv6Network: "fd00:10:244::/48" }),
    // A bare machine has not loaded br_netfilter; loading it is not for a lab to do.
    ...(bridgeNetfilterProblem(enabled) !== undefined && { EnableNFTables: true }),
    Backend: backendConfig(backend, families),
  };
}

function gatewayText(gateway: { address: string; length: number }): string {
  return `${gateway.address}/${gateway.length}`;
}

function logEnd(path: string): string {
  return readFileSync(path, "utf8").trimEnd().split("\n").slice(-10).join("\n");
}
