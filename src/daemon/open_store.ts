/** Opens the datastore that the flags name. */

import { hostname } from "node:os";
import type { DaemonOptions } from "../cli/daemon_options.ts";
import { ConfigError } from "../config/config_error.ts";
import { readInterfaces } from "../host/interface_reader.ts";
import type { Log } from "../log/log.ts";
import { EtcdClient } from "../etcd/client/etcd_client.ts";
import type { HostNetwork } from "../etcd/client/host_network.ts";
import { EtcdLeaseStore } from "../subnet/etcd/etcd_lease_store.ts";
import { nodeIdentity } from "../subnet/etcd/node_identity.ts";
import type { LeaseStore } from "../subnet/lease_store.ts";

export interface OpenedStore {
  readonly store: LeaseStore;
  /** What holds the network configuration, for messages. */
  readonly configSource: string;
  /** This host's addresses or routes may have changed. */
  readonly networkChanged: () => Promise<void>;
}

/** Connects at the first call. Throws `ConfigError` for flags that cannot work. */
export function openStore(options: DaemonOptions, host: HostNetwork, log: Log): OpenedStore {
  if (options.kubeSubnetManager) {
    throw new ConfigError(
      "--kube-subnet-mgr: this version keeps its leases in etcd only; leave the flag out and set --etcd-endpoints",
    );
  }
  const etcdLog = log.child({ component: "etcd" });
  const etcd = new EtcdClient({
    endpoints: options.etcdEndpoints,
    tls: {
      caFile: options.etcdCaFile,
      certFile: options.etcdCertFile,
      keyFile: options.etcdKeyFile,
    },
    username: options.etcdUsername,
    password: options.etcdPassword,
    log: etcdLog,
    host,
  });
  const store = new EtcdLeaseStore({
    etcd,
    prefix: options.etcdPrefix,
    renewMarginMs: options.subnetLeaseRenewMarginMinutes * 60_000,
    node: async (address) => {
      const interfaces = await readInterfaces();
      const named = interfaces.map((device) => ({
        name: device.name,
        addresses: device.addresses.map((one) => one.address as string),
      }));
      const holder = named.find(({ addresses }) => addresses.includes(address));
      return {
        identity: await nodeIdentity(),
        hostname: hostname(),
        interface: holder?.name ?? "",
        interfaces: named,
      };
    },
    log: log.child({ component: "lease" }),
  });
  return {
    store,
    configSource: `${options.etcdPrefix}/config in ${store.description}`,
    networkChanged: () => etcd.networkChanged(),
  };
}
