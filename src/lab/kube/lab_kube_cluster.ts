/**
 * A Kubernetes cluster: a real API server, the objects of deploy/kube-flannel.yml, a Node for each
 * host, and pods that the CNI plugins connect.
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { shellQuoted } from "../../base/quoting.ts";
import { hostDirectory, type LabCluster } from "../lab_cluster.ts";
import { networkConfig } from "../lab_network.ts";
import type { LabContext, LabKubeOptions, LabOptions } from "../lab_options.ts";
import { startLabStore } from "../lab_store.ts";
import { mapParallel } from "../map_parallel.ts";
import type { LabHost, Topology } from "../topology.ts";
import type { TopologyRecord } from "../topology_record.ts";
import { apiServerVariables } from "./api_server_settings.ts";
import { createObjects, waitForNodes } from "./kube_objects.ts";
import { type LabControlPlane, startControlPlane } from "./lab_control_plane.ts";
import { labManifest } from "./lab_manifest.ts";
import { addPod } from "./pod_network.ts";

export interface KubeClusterParts {
  readonly record: TopologyRecord;
  readonly topology: Topology;
  readonly kube: LabKubeOptions;
}

/** Plugins that run at once. */
const PARALLEL = 4;

/** Starts the control plane and creates all that the daemons need of it. */
export async function startKubeCluster(
  { record, topology, kube }: KubeClusterParts,
  options: LabOptions,
  context: LabContext,
): Promise<LabCluster> {
  const { progress, signal } = context;
  const { hosts, etcd: station } = topology;
  const { datastore } = options;
  const endpoints = await startLabStore({ record, topology, datastore }, context);
  progress("starting kube-apiserver");
  const plane = await startControlPlane({ record, station, endpoints, ...kube }, context);
  const { admin, version } = plane;
  progress(`Kubernetes ${version} is ready; creating ${hosts.length} nodes`);
  const config = networkConfig(options);
  const manifest = labManifest(config);
  const token = await createObjects({ admin, manifest, hosts, lab: options }, context);
  const configFile = join(record.directory, "net-conf.json");
  writeFileSync(configFile, JSON.stringify(config));
  const path = [writePluginProgram(record, kube.flanneld), ...kube.cniDirectories];
  const files = (host: LabHost) => hostFiles(hostDirectory(record, host));
  return {
    daemonSetup(host) {
      const { subnetFile, accountDirectory } = files(host);
      writeServiceAccount(accountDirectory, {
        plane,
        token,
        namespace: manifest.account.namespace,
      });
      return {
        flags: [...manifest.daemonFlags, `--net-config-path=${configFile}`],
        env: {
          ...manifest.daemonEnvironment(manifest.daemonPod(host)),
          ...apiServerVariables(plane.url),
        },
        subnetFile,
      };
    },
    hostsReady: (ready) => waitForNodes(admin, ready.map(({ host }) => host), context),
    attach(ready) {
      const { conflist } = manifest;
      progress(`attaching ${ready.length} pods by their CNI plugins`);
      return mapParallel(
        ready,
        PARALLEL,
        ({ host }) => addPod({ host, ...files(host), path, conflist, signal }),
      );
    },
  };
}

/** The files of a node; `run` is its /run. */
function hostFiles(directory: string) {
  return {
    subnetFile: join(directory, "run/flannel/subnet.env"),
    accountDirectory: join(directory, "run/secrets/kubernetes.io/serviceaccount"),
    stateDirectory: join(directory, "cni"),
  };
}

/** The volume with the credentials of a pod's service account. */
function writeServiceAccount(
  directory: string,
  { plane, token, namespace }: {
    readonly plane: LabControlPlane;
    readonly token: string;
    readonly namespace: string;
  },
): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileSync(join(directory, "token"), token, { mode: 0o600 });
  writeFileSync(join(directory, "ca.crt"), readFileSync(plane.caFile));
  writeFileSync(join(directory, "namespace"), namespace);
}

/** Writes the program `flannel` for container runtimes; returns its directory. */
function writePluginProgram(record: TopologyRecord, flanneld: readonly string[]): string {
  const directory = join(record.directory, "cni-bin");
  mkdirSync(directory, { mode: 0o700 });
  const words = [...flanneld, "cni"].map(shellQuoted);
  writeFileSync(join(directory, "flannel"), `#!/bin/sh\nexec ${words.join(" ")}\n`, {
    mode: 0o700,
  });
  return directory;
}
