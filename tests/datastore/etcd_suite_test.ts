/** The tests of the etcd client and of the lease store, with the datastore instead of etcd. */

import { afterAll, describe } from "bun:test";
import { useServerKind } from "../support/etcd_server.ts";

useServerKind("datastore");
afterAll(() => useServerKind("etcd"));

// The datastore has no users (client_auth_test) and no clusters (client_cluster_test).
const STORE = ["client", "client_watch", "client_tls", "client_idle", "lease_store_etcd"];
for (const name of [...STORE, "operator"]) {
  describe(name, () => {
    require(`../etcd/${name}_test.ts`);
  });
}
