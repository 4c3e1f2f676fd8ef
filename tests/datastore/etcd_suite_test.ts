/** The tests of the etcd client and of the lease store, with our datastore in etcd's place. */

import { afterAll, describe } from "bun:test";
import { useServerKind } from "../support/etcd_server.ts";

useServerKind("datastore");
afterAll(() => useServerKind("etcd"));

// Users (client_auth_test) and clusters (client_cluster_test) are what the datastore does not have.
for (const name of ["client", "client_watch", "client_tls", "client_idle", "lease_store_etcd"]) {
  describe(name, () => {
    require(`../etcd/${name}_test.ts`);
  });
}
