/** Opens the lease store that the flags choose, and loads the code of no other. */

import type { OpenedStore, OpenStoreOptions } from "./daemon_ports.ts";

/** Connects at the first call. Throws `OperatorError` for what can never work. */
export async function openLeaseStore(options: OpenStoreOptions): Promise<OpenedStore> {
  if (options.options.kubeSubnetManager) {
    const { openKubeStore } = await import("./kube_store.ts");
    return await openKubeStore(options);
  }
  const { openEtcdStore } = await import("./etcd_store.ts");
  return await openEtcdStore(options);
}
