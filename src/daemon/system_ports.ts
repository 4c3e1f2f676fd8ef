/** The ports of a daemon on a real host. */

import { systemClock } from "../base/clock.ts";
import { shrinkHeap } from "../base/dropped_memory.ts";
import { bridgeNetfilterProblem, createFirewallManager } from "../firewall/firewall.ts";
import { startHealthServer } from "../health/health_server.ts";
import { createNotifier } from "../health/sd_notify.ts";
import { readHostDependencies } from "../host/host_dependencies.ts";
import { readInterfaces } from "../host/interface_reader.ts";
import { NetlinkKernel } from "../kernel/netlink_kernel.ts";
import { readSysctl } from "../kernel/sysctl/proc_sys.ts";
import { wireguardSupport } from "../kernel/wireguard/wireguard_support.ts";
import { openXfrmStates } from "../kernel/xfrm/xfrm_states.ts";
import { dropFilePages } from "../process/file_pages.ts";
import { checkSubnetFile, readSubnetFile, writeSubnetFile } from "../subnet/subnet_file.ts";
import type { DaemonPorts } from "./daemon_ports.ts";
import { claimDevice } from "./device_claim.ts";
import { requireNetworkPrivilege } from "./network_privilege.ts";
import { openLeaseStore } from "./lease_stores.ts";

export const systemPorts: DaemonPorts = {
  clock: systemClock,
  env: process.env,
  random: (length) => crypto.getRandomValues(new Uint8Array(length)),
  subnetFile: { check: checkSubnetFile, read: readSubnetFile, write: writeSubnetFile },
  openKernel: () => new NetlinkKernel({ clock: systemClock }),
  readInterfaces: () => readInterfaces(systemClock),
  readSysctl,
  readHostDependencies,
  wireguardSupport,
  openXfrmStates: () => openXfrmStates(systemClock),
  bridgeNetfilterProblem,
  createFirewallManager,
  releaseMemory: () => {
    shrinkHeap();
    // The runtime shrinks the heap when it is next idle; the code for that is not needed later.
    systemClock.setTimer(1000, dropFilePages);
  },
  requireNetworkPrivilege: () => requireNetworkPrivilege(),
  openStore: openLeaseStore,
  createNotifier,
  startHealthServer,
  claimDevice,
  async serveStatus({ facts, ...options }) {
    const [{ serveStatus }, { statusDocument }] = await Promise.all([
      import("../control/status_server.ts"),
      import("./status_report.ts"),
    ]);
    const documents = {
      "/v1/status": () => statusDocument(facts),
      "/v1/peers": async (query: URLSearchParams) => {
        const { peersDocument } = await import("./peers_report.ts");
        return await peersDocument(facts, query);
      },
    };
    return serveStatus({ ...options, documents });
  },
};
