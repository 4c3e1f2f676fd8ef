/**
 * A Kubernetes cluster for one test: a real API server, and nodes that are hosts in namespaces.
 *
 *     await using cluster = await KubeCluster.create({ hosts: 3 });
 *     await cluster.createNodes();
 *     await cluster.startAll();
 *     await cluster.attachWorkloads();
 *     await cluster.expectMesh();
 *
 * Disposing ends every process and removes every namespace; a killed test's remains are removed by
 * the next `create` on this machine.
 */

import type { Family } from "../../../src/addr/ip.ts";
import type { TopologyRecord } from "../../../src/lab/topology_record.ts";
import type { Topology } from "../../../src/lab/topology.ts";
import { attachWorkloads } from "../../../src/lab/workload.ts";
import { buildHosts, type HostsOptions } from "../built_hosts.ts";
import type { Host, StartOptions } from "../host.ts";
import { expectMesh, type MeshOptions } from "../mesh.ts";
import { ControlPlane, type ControlPlaneOptions } from "./control_plane.ts";
import type { KubeAdmin, NodeSpec } from "./kube_admin.ts";
import { KubeHost } from "./kube_host.ts";

export type KubeClusterOptions =
  & Omit<HostsOptions, "mtuBytes">
  & Pick<ControlPlaneOptions, "store" | "args">;

export const POD_NETWORKS: Readonly<Record<Family, string>> = {
  4: "10.244.0.0/16",
  6: "fd00:10:244::/48",
};
const KIND = "fl-kube";

export class KubeCluster implements AsyncDisposable {
  readonly record: TopologyRecord;
  readonly topology: Topology;
  readonly plane: ControlPlane;
  readonly hosts: readonly KubeHost[];

  private constructor(record: TopologyRecord, topology: Topology, plane: ControlPlane) {
    this.record = record;
    this.topology = topology;
    this.plane = plane;
    this.hosts = topology.hosts.map((station) => new KubeHost(record, station, plane));
  }

  /** Builds the hosts and starts the control plane; there is no node and no daemon yet. */
  static async create(options: KubeClusterOptions): Promise<KubeCluster> {
    return await buildHosts(KIND, options, async (record, topology) => {
      const { store, args } = options;
      const plane = await ControlPlane.start({
        record,
        station: topology.etcd,
        ...(store === undefined ? {} : { store }),
        ...(args === undefined ? {} : { args }),
      });
      return new KubeCluster(record, topology, plane);
    });
  }

  get admin(): KubeAdmin {
    return this.plane.admin;
  }

  host(number: number): KubeHost {
    const host = this.hosts[number - 1];
    if (host === undefined) throw new RangeError(`there is no host ${number}`);
    return host;
  }

  /** Creates a node for every host (or some), with podCIDRs of these families. */
  async createNodes(
    options: { families?: readonly Family[]; hosts?: readonly KubeHost[] } = {},
  ): Promise<void> {
    const { families = [4], hosts = this.hosts } = options;
    await this.admin.createNodes(hosts.map((host) => nodeSpec(host, families)));
  }

  /** Removes the nodes of all hosts. */
  async deleteNodes(hosts: readonly KubeHost[] = this.hosts): Promise<void> {
    await Promise.all(hosts.map((host) => this.admin.deleteNode(host.name)));
  }

  /** Writes net-conf.json for every host. */
  configure(config: object): void {
    for (const host of this.hosts) host.configure(config);
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

  async expectMesh(
    options: MeshOptions & { readonly hosts?: readonly Host[] } = {},
  ): Promise<void> {
    await expectMesh(options.hosts ?? this.hosts, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.plane.killApiServer(); // it ignores SIGTERM for a minute
    await this.record.remove();
  }
}

/** Host n gets 10.244.n.0/24 and fd00:10:244:n::/64. */
export function nodeSpec(host: KubeHost, families: readonly Family[]): NodeSpec {
  const number = host.name.slice(1);
  const podCidrs: Readonly<Record<Family, string>> = {
    4: `10.244.${number}.0/24`,
    6: `fd00:10:244:${number}::/64`,
  };
  return { name: host.name, podCidrs: families.map((family) => podCidrs[family]) };
}

/** The network configuration of a pod network of these families. */
export function networkConfig(
  families: readonly Family[],
  backend: Readonly<Record<string, unknown>>,
): object {
  return {
    EnableIPv4: families.includes(4),
    ...(families.includes(4) && { Network: POD_NETWORKS[4] }),
    ...(families.includes(6) && { EnableIPv6: true, IPv6Network: POD_NETWORKS[6] }),
    EnableNFTables: true,
    Backend: backend,
  };
}
