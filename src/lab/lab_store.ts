/** The store of a lab: flanneld's datastore, or a real etcd. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { LabDatastore } from "./lab_datastore.ts";
import { LabEtcd } from "./lab_etcd.ts";
import type { LabContext, LabOptions } from "./lab_options.ts";
import type { Topology } from "./topology.ts";
import type { TopologyRecord } from "./topology_record.ts";

export interface LabStoreOptions {
  readonly record: TopologyRecord;
  readonly topology: Topology;
  readonly datastore: LabOptions["datastore"];
  /** The network configuration, which the daemons read there; absent: the store is empty. */
  readonly config?: object;
}

const STORE_TIMEOUT_MS = 15_000;
const ETCD_PREFIX = "/coreos.com/network";

/** Starts the store and waits until it serves; returns its endpoints. */
export async function startLabStore(
  { record, topology, datastore, config }: LabStoreOptions,
  { clock, progress, signal }: LabContext,
): Promise<string> {
  const directory = join(record.directory, "store");
  mkdirSync(directory, { mode: 0o700 });
  if (datastore !== undefined) {
    progress("starting the datastore");
    const server = new LabDatastore(topology.etcd, {
      command: datastore,
      directory,
      clock,
      ...(config !== undefined && { config }),
    });
    record.addProcess(server.pid);
    await server.ready(STORE_TIMEOUT_MS, signal);
    return server.endpoints;
  }
  progress("starting etcd");
  const etcd = new LabEtcd(topology.etcd, { directory, clock });
  record.addProcess(etcd.pid);
  await etcd.ready(STORE_TIMEOUT_MS, signal);
  if (config !== undefined) await etcd.put(`${ETCD_PREFIX}/config`, JSON.stringify(config));
  return etcd.endpoints;
}
