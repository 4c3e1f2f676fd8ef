/** The hosts of a test's cluster: namespaces on one or more segments. */

import { systemClock } from "../../src/base/clock.ts";
import type { Family } from "../../src/addr/ip.ts";
import { createTopology, planTopology, type Topology } from "../../src/lab/topology.ts";
import { TopologyRecord } from "../../src/lab/topology_record.ts";

export interface HostsOptions {
  readonly hosts: number;
  /** Families of the underlay; IPv4 by default. */
  readonly families?: readonly Family[];
  /** The segment of each host; all on one by default. */
  readonly segments?: readonly number[];
  readonly mtuBytes?: number;
}

/**
 * Builds the hosts and returns what `start` makes of them; if it fails, they are removed. Hosts of
 * this kind that a killed test has left are removed first.
 */
export async function buildHosts<T>(
  kind: string,
  { hosts, families = [4], segments, mtuBytes }: HostsOptions,
  start: (record: TopologyRecord, topology: Topology) => Promise<T>,
): Promise<T> {
  for (const left of TopologyRecord.list(kind, systemClock)) {
    if (left.isOrphan) await left.remove();
  }
  const record = TopologyRecord.create(kind, systemClock);
  try {
    const topology = planTopology({
      prefix: record.prefix,
      hostSegments: segments ?? new Array<number>(hosts).fill(0),
      families,
      ...(mtuBytes === undefined ? {} : { mtuBytes }),
    });
    await createTopology(topology);
    return await start(record, topology);
  } catch (error) {
    await record.remove();
    throw error;
  }
}
