/** Kubernetes clusters in which some nodes run Go flannel and some ours. */

import { FLANNELD } from "../support/host.ts";
import { KubeCluster, networkConfig } from "../support/kube/kube_cluster.ts";
import type { KubeHost } from "../support/kube/kube_host.ts";
import {
  firstOf,
  goFlannel,
  type Kind,
  type MixedClusterOptions,
  MixedHost,
  unansweredAmong,
} from "./mixed_cluster.ts";

export class KubeMixedCluster implements AsyncDisposable {
  readonly cluster: KubeCluster;
  readonly hosts: readonly MixedHost[];

  private constructor(cluster: KubeCluster, hosts: readonly MixedHost[]) {
    this.cluster = cluster;
    this.hosts = hosts;
  }

  /** Starts everything and puts a workload behind each node. */
  static async start(options: MixedClusterOptions): Promise<KubeMixedCluster> {
    const { kinds, families, env = {} } = options;
    const programs = { Go: await goFlannel(), ours: FLANNELD };
    const cluster = await KubeCluster.create({ hosts: kinds.length, families });
    try {
      const hosts = cluster.hosts.map((host, index) =>
        new MixedHost(host, { programs, kind: kinds[index] as Kind, env })
      );
      cluster.configure({
        ...networkConfig(families, options.backend),
        EnableNFTables: options.enableNftables ?? false,
      });
      await cluster.createNodes({ families });
      await Promise.all(hosts.map((host) => host.up(host.kind)));
      await cluster.attachWorkloads();
      return new KubeMixedCluster(cluster, hosts);
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The first node that runs this program. */
  first(kind: Kind): MixedHost {
    return firstOf(this.hosts, kind);
  }

  /** What identifies the node: its uid and what the program wrote to it. */
  async entryOf(host: MixedHost): Promise<unknown> {
    const { metadata: { uid } } = await this.cluster.admin.node(host.host.name);
    return { uid, annotations: await this.annotations(host) };
  }

  annotations(host: MixedHost): Promise<Readonly<Record<string, string>>> {
    return this.cluster.admin.flannelAnnotations(host.host.name);
  }

  /** Removes the host's node from the cluster; its daemon still runs. */
  async deleteNode(host: MixedHost): Promise<void> {
    await this.cluster.admin.deleteNode(host.host.name);
  }

  /** Creates the host's node again, with its podCIDRs. */
  async createNode(host: MixedHost): Promise<void> {
    const families = host.host.address(6) === "" ? [4] as const : [4, 6] as const;
    await this.cluster.createNodes({ families, hosts: [host.host as KubeHost] });
  }

  unanswered(): Promise<string[]> {
    return unansweredAmong(this.hosts);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }
}
