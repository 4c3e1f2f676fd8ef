/** The daemon's flags that choose the store, for commands that use the store without a daemon. */

import { DAEMON_FLAGS } from "./daemon_flags.ts";
import { type OptionsOf, pickFlags } from "./flag.ts";
import { checkCertificatePair } from "./flag_reader.ts";

export const STORE_FLAGS = pickFlags(DAEMON_FLAGS, [
  "etcdEndpoints",
  "etcdPrefix",
  "etcdKeyFile",
  "etcdCertFile",
  "etcdCaFile",
  "etcdUsername",
  "etcdPassword",
  "joinState",
  "kubeSubnetManager",
  "kubeApiUrl",
  "kubeconfigFile",
  "kubeAnnotationPrefix",
  "netConfigPath",
]);

export type StoreOptions = OptionsOf<typeof STORE_FLAGS>;

/** With the scheme of each endpoint. Throws `ArgumentError` for options that exclude each other. */
export function readStoreOptions<Options extends StoreOptions>(options: Options): Options {
  const { etcdCertFile: certFile, etcdKeyFile: keyFile } = options;
  if (!options.kubeSubnetManager) {
    checkCertificatePair({ certFile, keyFile }, { cert: "--etcd-certfile", key: "--etcd-keyfile" });
  }
  const scheme = options.etcdCaFile !== "" || certFile !== "" ? "https" : "http";
  const etcdEndpoints = options.etcdEndpoints.map((endpoint) =>
    endpoint.includes("://") ? endpoint : `${scheme}://${endpoint}`
  );
  return { ...options, etcdEndpoints };
}
