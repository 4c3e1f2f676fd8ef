/**
 * A cluster on one machine: hosts, etcd or a Kubernetes control plane, a daemon and a workload on
 * each host, and pings between all workloads. A lab removes everything that it has created, also
 * after a failure.
 */

import { valuesOf } from "../addr/family.ts";
import type { Clock } from "../base/clock.ts";
import { bridgeAddress } from "../subnet/subnet_file.ts";
import { startEtcdCluster } from "./etcd_cluster.ts";
import { startKubeCluster } from "./kube/lab_kube_cluster.ts";
import type { LabCluster, ReadyHost } from "./lab_cluster.ts";
import { startDaemon, waitForSubnetFile } from "./lab_daemon.ts";
import type { LabContext, LabOptions } from "./lab_options.ts";
import type { HostReport, LabReport } from "./lab_report.ts";
import { rejectedNeighbours, rejectedText } from "./neighbour_table.ts";
import { type Ping, pingAll } from "./ping_matrix.ts";
import { createTopology, type LabHost, planTopology } from "./topology.ts";
import { TopologyRecord } from "./topology_record.ts";

/** The beginning of the names of all labs. */
export const LAB_KIND = "fl-lab";

/** Two user-space WireGuard peers that start at the same time may need 15 s for a handshake. */
const PING_TIMEOUT_MS = 30_000;

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
  const { progress, signal } = context;
  const topology = planTopology({
    prefix: record.prefix,
    hostSegments: new Array<number>(options.hosts).fill(0),
    families: options.families,
  });
  progress(`${record.prefix}: ${options.hosts} hosts, backend ${options.backend.type}`);
  await createTopology(topology, signal);
  const cluster = options.kube === undefined
    ? await startEtcdCluster({ record, topology }, options, context)
    : await startKubeCluster({ record, topology, kube: options.kube }, options, context);
  const { hosts, reports } = await startDaemons(topology.hosts, { record, cluster }, {
    command: options.daemon,
    context,
  });
  await cluster.hostsReady(hosts);
  const report = { lab: record.prefix, backend: options.backend.type, hosts: reports };
  if (!options.backend.connectsNodes) {
    progress(`the ${options.backend.type} backend does not connect the nodes: no pings`);
    return { ...report, pings: [], ok: true };
  }
  const pings = await pingWorkloads(hosts, { cluster, options }, context);
  return { ...report, pings, ok: pings.every((ping) => ping.milliseconds !== undefined) };
}

/** Starts the daemons of all hosts and waits for their subnets. */
async function startDaemons(
  hosts: readonly LabHost[],
  { record, cluster }: { readonly record: TopologyRecord; readonly cluster: LabCluster },
  { command, context }: { readonly command: readonly string[]; readonly context: LabContext },
): Promise<{ hosts: readonly ReadyHost[]; reports: readonly HostReport[] }> {
  const { clock, progress, signal } = context;
  progress(`starting ${hosts.length} daemons`);
  const started = hosts.map((host) =>
    startDaemon(record, host, { command, setup: cluster.daemonSetup(host), clock })
  );
  const ready = await Promise.all(started.map(async (daemon) => {
    const { host } = daemon;
    const { network, readyMs } = await waitForSubnetFile(daemon, { clock, signal });
    const bridges = valuesOf(network.subnets).map(bridgeAddress);
    progress(`${host.name} has ${bridges.join(" and ")} after ${readyMs} ms`);
    return { host, network, readyMs };
  }));
  const reports = ready.map(({ host, network, readyMs }): HostReport => ({
    name: host.name,
    publicAddresses: host.addresses,
    subnets: network.subnets,
    mtuBytes: network.mtuBytes,
    readyMs,
  }));
  return { hosts: ready, reports };
}

/** Attaches a workload to each host, and pings each from every other. */
async function pingWorkloads(
  hosts: readonly ReadyHost[],
  { cluster, options }: { readonly cluster: LabCluster; readonly options: LabOptions },
  { clock, progress, signal }: LabContext,
): Promise<Ping[]> {
  const addresses = await cluster.attach(hosts);
  const workload = options.kube === undefined ? "workload" : "pod";
  progress(`pinging every ${workload} from every other at full MTU`);
  const ends = hosts.map(({ host, network }, index) => ({
    name: host.name,
    namespace: host.workloadNamespace,
    addresses: addresses[index] ?? {},
    mtuBytes: network.mtuBytes,
  }));
  const rejectedBefore = rejectedNeighbours();
  const timeoutMs = PING_TIMEOUT_MS;
  const pings = await pingAll(ends, { timeoutMs, isPatient: true, clock, signal });
  const rejected = (rejectedNeighbours() ?? 0) - (rejectedBefore ?? 0);
  if (rejected > 0) progress(rejectedText(rejected, options));
  return pings;
}
