/** Opens the lease store over the Kubernetes API that the flags and the pod's variables name. */

import { BACKENDS } from "../backend/backend_registry.ts";
import { versionText } from "../cli/version.ts";
import { openKubeClient } from "../kube/open_kube_client.ts";
import { KubeLeaseStore } from "../subnet/kube/kube_lease_store.ts";
import { NetConfigFile } from "../subnet/kube/net_config_file.ts";
import { annotationNames } from "../subnet/kube/node_annotations.ts";
import { nodeNameSource } from "../subnet/kube/own_node.ts";
import type { OpenedStore, OpenStoreOptions } from "./daemon_ports.ts";
import { checkKubeEnvironment } from "./kube_environment.ts";

/**
 * Connects at the first call. Throws `ConfigError` for flags and variables that cannot work, and
 * `KubeError` for a kubeconfig that cannot be used.
 */
export async function openKubeStore(
  { options, env, clock, log }: OpenStoreOptions,
): Promise<OpenedStore> {
  checkKubeEnvironment(env, log);
  const names = annotationNames(options.kubeAnnotationPrefix);
  const node = nodeNameSource(env);
  const api = await openKubeClient({
    kubeconfigFile: options.kubeconfigFile,
    apiUrl: options.kubeApiUrl,
    environment: env,
    version: versionText(),
    clock,
    log: log.child({ component: "kube" }),
  });
  const leaseLog = log.child({ component: "lease" });
  const store = new KubeLeaseStore({
    api,
    config: new NetConfigFile({ path: options.netConfigPath, clock, log: leaseLog }),
    node,
    names,
    backendOf: (config) => BACKENDS.forNetwork(config),
    setsCondition: options.setNodeNetworkUnavailable,
    clock,
    log: leaseLog,
  });
  return {
    kind: "kubernetes",
    store,
    configSource: options.netConfigPath,
    endpoints: [api.server],
    // Calls that fail are repeated; a watch notices a dead connection by itself.
    networkChanged: () => Promise.resolve(),
  };
}
