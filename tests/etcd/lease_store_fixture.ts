/** Nodes on one etcd, real or in memory, for the lease store's tests. */

import { expect } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import type { IpAddress } from "../../src/addr/ip.ts";
import type { PerFamily } from "../../src/addr/family.ts";
import type { Prefix } from "../../src/addr/prefix.ts";
import { type NetworkConfig, parseNetworkConfig } from "../../src/config/network_config.ts";
import type { Etcd } from "../../src/etcd/client/etcd.ts";
import { EtcdLeaseStore } from "../../src/subnet/etcd/etcd_lease_store.ts";
import type { LeaseAttributes } from "../../src/subnet/lease.ts";
import type { DeviceIdentity, LeaseRequest } from "../../src/subnet/lease_store.ts";
import type { Clock } from "../../src/base/clock.ts";
import { collectingLog, type LogRecord } from "../support/collecting_log.ts";

export const IPV4 = parse({ Network: "10.5.0.0/16" });
export const DUAL = parse({
  Network: "10.5.0.0/16",
  EnableIPv6: true,
  IPv6Network: "fc00::/48",
});
export const IPV6_ONLY = parse({
  EnableIPv4: false,
  EnableIPv6: true,
  IPv6Network: "fc00::/48",
});

export function parse(value: object): NetworkConfig {
  return parseNetworkConfig(JSON.stringify(value), { source: "test", warn: () => {} });
}

export interface TestNode extends AsyncDisposable {
  readonly store: EtcdLeaseStore;
  readonly records: LogRecord[];
  /** Messages of warn and above. */
  warnings(): string[];
}

export interface TestNodeOptions {
  readonly etcd: Etcd;
  readonly prefix: string;
  readonly clock?: Clock;
  /** Distinguishes hosts; one name is one host. */
  readonly host?: string;
  /** The interface that has the public address; none where it is translated on the way. */
  readonly interface?: string;
  readonly renewMarginMs?: number;
  readonly sessionTtlSeconds?: number;
}

export function testNode(options: TestNodeOptions): TestNode {
  const { log, records } = collectingLog("debug");
  const { host = "host-a", interface: name = "eth0", ...rest } = options;
  const store = new EtcdLeaseStore({
    clock: systemClock,
    renewMarginMs: 3_600_000,
    log,
    node: (address) => ({
      identity: `identity of ${host}`,
      hostname: host,
      interface: name,
      interfaces: [
        { name: "eth0", addresses: [address] },
        { name: "eth1", addresses: ["192.168.56.11", "fd56::11"] },
        { name: "eth2", addresses: [] },
        { name: "docker0", addresses: ["10.5.3.1"] },
      ],
    }),
    ...rest,
  });
  return {
    store,
    records,
    warnings: () =>
      records.filter(({ level }) => level !== "info" && level !== "debug").map(({ msg }) => msg),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

export function request(
  config: NetworkConfig,
  publicAddresses: PerFamily<string>,
  more: { previous?: PerFamily<string>; mac?: string; identity?: DeviceIdentity } = {},
): LeaseRequest {
  return {
    config,
    attributes: attributes(publicAddresses, more.mac),
    previousSubnets: (more.previous ?? {}) as PerFamily<Prefix>,
    ...(more.identity && { identity: more.identity }),
  };
}

/** A device's MAC address, as the vxlan backend has it. */
export function deviceIdentity(mac: string): DeviceIdentity {
  return {
    texts: [mac],
    matchIn: ({ backendData }) =>
      (backendData[4] as { VtepMAC?: unknown } | undefined)?.VtepMAC === mac
        ? `VtepMAC ${mac}`
        : undefined,
    remedy: "delete the device",
  };
}

export function attributes(
  addresses: PerFamily<string>,
  mac = "02:00:00:00:00:01",
): LeaseAttributes {
  return {
    publicAddresses: addresses as PerFamily<IpAddress>,
    backendType: "vxlan",
    backendData: { 4: { VNI: 1, VtepMAC: mac } },
  };
}

/** The value that `attributes` is written as. */
export function value(address: string, mac = "02:00:00:00:00:01"): string {
  return `{"PublicIP":"${address}","PublicIPv6":null,"BackendType":"vxlan",` +
    `"BackendData":{"VNI":1,"VtepMAC":"${mac}"}}`;
}

/** The error that the promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(() => undefined, (error) => error);
  expect(error).toBeInstanceOf(Error);
  return error;
}
