/** Opens the lease store in etcd that the flags name. */

import type { Clock } from "../base/clock.ts";
import { hostname } from "node:os";
import type { IpAddress } from "../addr/ip.ts";
import { ConfigError } from "../config/config_error.ts";
import { EtcdClient } from "../etcd/client/etcd_client.ts";
import { interfaceWithAddress } from "../host/host_interface.ts";
import { readInterfaces } from "../host/interface_reader.ts";
import { EtcdLeaseStore } from "../subnet/etcd/etcd_lease_store.ts";
import { type LiveNode, nodeIdentity } from "../subnet/etcd/node_identity.ts";
import type { OpenedStore, OpenStoreOptions } from "./daemon_ports.ts";
import { etcdHostNetwork } from "./etcd_host_network.ts";

/** Connects at the first call. Throws `ConfigError` for flags that cannot work. */
export function openEtcdStore({ options, kernel, clock, log }: OpenStoreOptions): OpenedStore {
  if (options.kubeSubnetManager) {
    throw new ConfigError(
      "--kube-subnet-mgr is not supported: leases are kept in etcd only; leave the flag out and " +
        "set --etcd-endpoints",
    );
  }
  const etcd = new EtcdClient({
    endpoints: options.etcdEndpoints,
    tls: {
      caFile: options.etcdCaFile,
      certFile: options.etcdCertFile,
      keyFile: options.etcdKeyFile,
    },
    username: options.etcdUsername,
    password: options.etcdPassword,
    clock,
    log: log.child({ component: "etcd" }),
    host: etcdHostNetwork({ kernel, readInterfaces: () => readInterfaces(clock) }),
  });
  const store = new EtcdLeaseStore({
    etcd,
    prefix: options.etcdPrefix,
    renewMarginMs: options.subnetLeaseRenewMarginMinutes * 60_000,
    node: (address) => describeNode(clock, address),
    clock,
    log: log.child({ component: "lease" }),
  });
  return {
    store,
    configSource: `${options.etcdPrefix}/config in ${store.description}`,
    networkChanged: () => etcd.networkChanged(),
  };
}

/** This node as its live session describes it to another one with the same public address. */
async function describeNode(clock: Clock, address: IpAddress): Promise<LiveNode> {
  const devices = await readInterfaces(clock);
  return {
    identity: await nodeIdentity(),
    hostname: hostname(),
    interface: interfaceWithAddress(devices, address)?.name ?? "",
    interfaces: devices.map(({ name, addresses }) => ({
      name,
      addresses: addresses.map((one) => one.address),
    })),
  };
}
