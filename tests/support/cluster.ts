/**
 * A cluster for one test: hosts and a real etcd in namespaces, the compiled daemon in each host.
 *
 *     await using cluster = await Cluster.create({ hosts: 3 });
 *     await cluster.configure({ Network: "10.5.0.0/16" });
 *     await cluster.startAll();
 *     await cluster.expectMesh();
 *
 * Disposing ends every process and removes every namespace; a killed test's remains are removed by
 * the next `create` on this machine.
 */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { LabEtcd, type LabEtcdMember } from "../../src/lab/lab_etcd.ts";
import { namespaceScript } from "../../src/lab/namespace.ts";
import type { TopologyRecord } from "../../src/lab/topology_record.ts";
import type { Topology } from "../../src/lab/topology.ts";
import { attachWorkloads } from "../../src/lab/workload.ts";
import { Host, type StartOptions } from "./host.ts";
import { buildHosts, type HostsOptions } from "./built_hosts.ts";
import { expectMesh, type MeshOptions } from "./mesh.ts";

export interface ClusterOptions extends HostsOptions {
  /** More arguments of etcd. */
  readonly etcdArgs?: readonly string[];
  readonly etcdScheme?: "http" | "https";
  /** Members of the etcd cluster; 1 by default. */
  readonly etcdMembers?: number;
}

/** One node's entry in etcd. */
export interface StoredLease {
  /** The key's last part, such as `10.5.1.0-24`. */
  readonly key: string;
  readonly publicIp: string;
  readonly value: StoredLeaseValue;
  /** etcd's lease, "0" for none. */
  readonly etcdLease: string;
}

export interface StoredLeaseValue {
  readonly PublicIP: string;
  readonly PublicIPv6: string | null;
  readonly BackendType?: string;
  readonly BackendData?: StoredBackendData;
  readonly BackendV6Data?: StoredBackendData;
}

/** The members of several backends. */
export interface StoredBackendData {
  readonly VNI?: number;
  readonly VtepMAC?: string;
  readonly PublicKey?: string;
  readonly Port?: number;
}

export const PREFIX = "/coreos.com/network";
const KIND = "fl-test";

export class Cluster implements AsyncDisposable {
  readonly record: TopologyRecord;
  readonly topology: Topology;
  readonly hosts: readonly Host[];
  readonly members: readonly LabEtcd[];

  private constructor(
    record: TopologyRecord,
    topology: Topology,
    members: readonly LabEtcd[],
  ) {
    this.record = record;
    this.topology = topology;
    this.members = members;
    const endpoints = members.map((member) => member.endpoints).join(",");
    this.hosts = topology.hosts.map((station) => new Host(record, station, endpoints));
  }

  /** Builds the hosts and starts etcd; no daemon runs yet. */
  static async create(options: ClusterOptions): Promise<Cluster> {
    return await buildHosts(KIND, options, async (record, topology) => {
      const members = memberPlan(options.etcdMembers ?? 1).map((member) => {
        const directory = join(record.directory, `etcd-${member.name}`);
        mkdirSync(directory, { mode: 0o700 });
        const etcd = new LabEtcd(topology.etcd, {
          directory,
          member,
          clock: systemClock,
          args: options.etcdArgs ?? [],
          scheme: options.etcdScheme ?? "http",
        });
        record.addProcess(etcd.pid);
        return etcd;
      });
      await Promise.all(members.map((member) => member.ready(60_000)));
      return new Cluster(record, topology, members);
    });
  }

  get etcd(): LabEtcd {
    return this.members[0] as LabEtcd;
  }

  host(number: number): Host {
    const host = this.hosts[number - 1];
    if (host === undefined) throw new RangeError(`there is no host ${number}`);
    return host;
  }

  /** Writes the network configuration. */
  async configure(config: object | string): Promise<void> {
    const text = typeof config === "string" ? config : JSON.stringify(config);
    await this.etcd.put(`${PREFIX}/config`, text);
  }

  /** Writes many leases, 100 in each transaction; etcd's limit is 128. */
  async putLeases(leases: readonly (readonly [key: string, value: Uint8Array])[]): Promise<void> {
    for (let from = 0; from < leases.length; from += 100) {
      const success = leases.slice(from, from + 100).map(([name, value]) => {
        const key = new TextEncoder().encode(`${PREFIX}/subnets/${name}`);
        return { requestPut: { key: key.toBase64(), value: value.toBase64() } };
      });
      await this.etcd.call("kv/txn", { success });
    }
  }

  /** Starts every host's daemon and waits until each is ready. */
  async startAll(options: StartOptions = {}): Promise<void> {
    for (const host of this.hosts) host.start(options);
    await Promise.all(this.hosts.map((host) => host.ready()));
  }

  /** Attaches a workload to every host (or some), as its subnet file specifies. */
  async attachWorkloads(hosts: readonly Host[] = this.hosts): Promise<void> {
    await attachWorkloads(hosts.map((host) => ({ host: host.station, network: host.subnet() })));
  }

  /** Every node's entry, by key; unreadable ones are left out. */
  async leases(prefix: string = PREFIX): Promise<StoredLease[]> {
    const keys = await this.etcd.list(`${prefix}/subnets/`);
    return keys.flatMap(({ key, value, lease }) => {
      try {
        const parsed = JSON.parse(value) as StoredLeaseValue;
        const name = key.slice(key.lastIndexOf("/") + 1);
        return [{ key: name, publicIp: parsed.PublicIP, value: parsed, etcdLease: lease }];
      } catch {
        return [];
      }
    });
  }

  /** The entry of one host, found by its public address. */
  async leaseOf(host: Host): Promise<StoredLease> {
    const lease = (await this.leases()).find(({ value }) =>
      value.PublicIP === host.address(4) || value.PublicIPv6 === host.address(6)
    );
    if (lease === undefined) throw new Error(`${host.name} has no lease`);
    return lease;
  }

  /** The hosts' VTEP addresses by name (`<h1>`, `<h1 v6>`), for texts that do not change. */
  async macNames(): Promise<Map<string, string>> {
    const names = new Map<string, string>();
    for (const { value } of await this.leases()) {
      const host = this.hosts.find((candidate) =>
        value.PublicIP === candidate.address(4) || value.PublicIPv6 === candidate.address(6)
      );
      if (host === undefined) continue;
      const [ipv4, ipv6] = [value.BackendData?.VtepMAC, value.BackendV6Data?.VtepMAC];
      if (ipv4 !== undefined) names.set(ipv4, `<${host.name}>`);
      if (ipv6 !== undefined) names.set(ipv6, `<${host.name} v6>`);
    }
    return names;
  }

  /**
   * Pings every workload from every other at full MTU; throws with the pairs that stay silent for
   * `timeoutMs`. The workloads must be attached.
   */
  async expectMesh(
    options: MeshOptions & { readonly hosts?: readonly Host[] } = {},
  ): Promise<void> {
    await expectMesh(options.hosts ?? this.hosts, options);
  }

  /** Cuts etcd's wire silently: packets are lost, no connection is reset. */
  async partitionEtcd(isCut: boolean): Promise<void> {
    await namespaceScript(
      this.topology.switchNamespace,
      `ip link set etcd ${isCut ? "down" : "up"}\n`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.record.remove();
  }
}

function memberPlan(count: number): LabEtcdMember[] {
  const members = Array.from({ length: count }, (_, index) => ({
    name: `m${index + 1}`,
    clientPort: 2379 + index * 10,
    peerPort: 2380 + index * 10,
  }));
  const cluster = members.map(({ name, peerPort }) => `${name}=http://127.0.0.1:${peerPort}`)
    .join();
  return members.map((member) => ({ ...member, cluster }));
}
