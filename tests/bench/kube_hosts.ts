/** A real API server, and hosts on which the programs to measure run as nodes of its cluster. */

import { readFileSync } from "node:fs";
import { KubeCluster } from "../support/kube/kube_cluster.ts";
import type { KubeHost } from "../support/kube/kube_host.ts";
import { startObserver } from "./bench.ts";
import { BenchDaemon, type Program } from "./daemon.ts";

/** A program that runs on a host. */
export interface KubeRun {
  readonly daemon: BenchDaemon;
  readonly host: KubeHost;
  /** A process in the host's namespace, to look through its part of /proc. */
  readonly observer: number;
}

export class KubeHosts implements AsyncDisposable {
  readonly cluster: KubeCluster;
  readonly #free: KubeHost[];
  readonly #running = new Set<KubeRun>();

  private constructor(cluster: KubeCluster) {
    this.cluster = cluster;
    this.#free = [...cluster.hosts];
  }

  static async create(options: { readonly hosts: number }): Promise<KubeHosts> {
    // Or it would delete one node after the other.
    const args = ["--delete-collection-workers=16"];
    const cluster = await KubeCluster.create({ ...options, args });
    // With nftables, neither program starts others that check the rules while it is measured.
    cluster.configure({
      Network: "10.0.0.0/8",
      EnableNFTables: true,
      Backend: { Type: "vxlan" },
    });
    return new KubeHosts(cluster);
  }

  /** Starts a program on a host that no other has run on. */
  async start(program: Program): Promise<KubeRun> {
    const host = this.#free.shift();
    if (host === undefined) throw new Error("more hosts are needed");
    const { cluster } = this;
    await cluster.createNodes({ hosts: [host] });
    const observer = startObserver(host.station, cluster.record);
    await Bun.sleep(100); // the observer enters the namespace
    const daemon = new BenchDaemon({
      program,
      host: host.station,
      directory: host.directory,
      store: [
        "--kube-subnet-mgr",
        `--kubeconfig-file=${cluster.plane.flannel.kubeconfig}`,
        `--net-config-path=${host.configFile}`,
      ],
      flags: ["--ip-masq"],
      env: { NODE_NAME: host.name },
    });
    const run = { daemon, host, observer };
    this.#running.add(run);
    return run;
  }

  /** Stops the program and removes its node. */
  async finish(run: KubeRun): Promise<void> {
    await run.daemon.stop();
    this.#running.delete(run);
    await this.cluster.deleteNodes([run.host]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { daemon } of this.#running) await daemon.stop();
    await this.cluster[Symbol.asyncDispose]();
  }
}

/** Bytes that a host has received on the underlay. */
export function receivedBytes({ observer }: KubeRun): number {
  const text = readFileSync(`/proc/${observer}/net/dev`, "utf8");
  return Number(/^\s*eth0:\s*(\d+)/m.exec(text)?.[1]);
}
