/** A cluster whose leases are in etcd, with workloads that the lab attaches itself. */

import { join } from "node:path";
import { hostDirectory, type LabCluster } from "./lab_cluster.ts";
import { networkConfig } from "./lab_network.ts";
import type { LabContext, LabOptions } from "./lab_options.ts";
import { startLabStore } from "./lab_store.ts";
import type { Topology } from "./topology.ts";
import type { TopologyRecord } from "./topology_record.ts";
import { attachWorkloads, workloadAddresses } from "./workload.ts";

/** Starts the store, with the network configuration in it. */
export async function startEtcdCluster(
  { record, topology }: { readonly record: TopologyRecord; readonly topology: Topology },
  options: LabOptions,
  context: LabContext,
): Promise<LabCluster> {
  const { datastore } = options;
  const config = networkConfig(options);
  const endpoints = await startLabStore({ record, topology, datastore, config }, context);
  return {
    daemonSetup(host) {
      const subnetFile = join(hostDirectory(record, host), "subnet.env");
      return {
        flags: [`--etcd-endpoints=${endpoints}`, `--subnet-file=${subnetFile}`],
        subnetFile,
      };
    },
    hostsReady: () => Promise.resolve(),
    async attach(hosts) {
      await attachWorkloads(hosts, context.signal);
      return hosts.map(({ network }) => workloadAddresses(network));
    },
  };
}
