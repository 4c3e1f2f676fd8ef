/** Opens the lease store in etcd that the flags name. */

import type { Clock } from "../base/clock.ts";
import { hostname } from "node:os";
import type { IpAddress } from "../addr/ip.ts";
import { EtcdClient } from "../etcd/client/etcd_client.ts";
import { interfaceWithAddress } from "../host/host_interface.ts";
import { readInterfaces } from "../host/interface_reader.ts";
import { EtcdLeaseStore } from "../subnet/etcd/etcd_lease_store.ts";
import { type LiveNode, nodeIdentity } from "../subnet/etcd/node_identity.ts";
import type { OpenedStore, OpenStoreOptions } from "./daemon_ports.ts";
import { etcdAccess } from "./etcd_access.ts";
import { etcdHostNetwork } from "./etcd_host_network.ts";

/**
 * Waits until this node has joined, if the flags say so; then connects at the first call. Throws
 * `OperatorError` for flags and tokens that cannot work, and the signal's reason.
 */
export async function openEtcdStore(context: OpenStoreOptions): Promise<OpenedStore> {
  const { options, kernel, clock, log } = context;
  const { kind, ...access } = await etcdAccess(context);
  const etcd = new EtcdClient({
    ...access,
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
    kind,
    store,
    configSource: `${options.etcdPrefix}/config in ${store.description}`,
    endpoints: access.endpoints,
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
