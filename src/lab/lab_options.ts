/** What a lab is asked for, and what it runs with. */

import type { Family } from "../addr/ip.ts";
import type { Clock } from "../base/clock.ts";
import type { BackendDescriptor } from "../overlay/backend_descriptor.ts";

/** A bridge has 1024 ports, one of them for etcd. */
export const MAX_HOSTS = 1000;

export interface LabOptions {
  readonly hosts: number;
  readonly backend: BackendDescriptor;
  /** Families of the overlay and of the underlay. */
  readonly families: readonly Family[];
  readonly keep: boolean;
  /** The command that starts the daemon, without the daemon's flags. */
  readonly daemon: readonly string[];
  /** The command that starts flanneld, for its datastore; absent: a real etcd. */
  readonly datastore?: readonly string[];
  /** Present: the hosts are nodes of Kubernetes, and that store is the API server's. */
  readonly kube?: LabKubeOptions;
}

export interface LabKubeOptions {
  /** Name or path of kube-apiserver. */
  readonly apiServer: string;
  /** Directories of CNI plugins. */
  readonly cniDirectories: readonly string[];
  /** The command that starts flanneld, for its CNI plugin. */
  readonly flanneld: readonly string[];
}

/** What a lab runs with. */
export interface LabContext {
  readonly clock: Clock;
  /** Receives a line for each step. */
  progress(line: string): void;
  readonly signal: AbortSignal;
}
