/** A node changes from one program to the other, or restarts its own, under a running ping. */

import { KubeMixedCluster } from "./kube_mixed_cluster.ts";
import { describeTakeover } from "./takeover.ts";

describeTakeover([
  { name: "vxlan, IPv4", backend: "vxlan", families: [4] },
  { name: "vxlan, dual stack", backend: "vxlan", families: [4, 6] },
  { name: "host-gw, dual stack", backend: "host-gw", families: [4, 6] },
], KubeMixedCluster.start);
