/** What makes a cluster of the hosts of a lab: etcd or Kubernetes. */

import { join } from "node:path";
import type { PerFamily } from "../addr/family.ts";
import type { IpAddress } from "../addr/ip.ts";
import type { SubnetFile } from "../subnet/subnet_file.ts";
import type { LabHost } from "./topology.ts";
import type { TopologyRecord } from "./topology_record.ts";

export interface LabCluster {
  /** What the daemon of a host is started with. */
  daemonSetup(host: LabHost): DaemonSetup;
  /** Returns when the cluster knows that these hosts, which have their subnets, are ready. */
  hostsReady(hosts: readonly ReadyHost[]): Promise<void>;
  /** Connects one workload of each host, and returns their addresses in the same order. */
  attach(hosts: readonly ReadyHost[]): Promise<readonly PerFamily<IpAddress>[]>;
}

export interface DaemonSetup {
  readonly flags: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Where the daemon writes it. */
  readonly subnetFile: string;
}

/** A host whose daemon has written the subnet file. */
export interface ReadyHost {
  readonly host: LabHost;
  readonly network: SubnetFile;
}

/** The files of a host; `run` in it is the host's /run. */
export function hostDirectory(record: TopologyRecord, host: LabHost): string {
  return join(record.directory, host.name);
}
