/** Hosts with FOU and hosts with the proxy in one network, and hosts that change between them. */

import { expect, test } from "bun:test";
import { Cluster } from "../support/cluster.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";

const FOU = { env: { FLANNELD_UDP_DATA_PATH: "fou" } };
const TUN = { env: { FLANNELD_UDP_DATA_PATH: "tun" } };

test(
  "both data paths make one network, and a host changes from one to the other and back",
  async () => {
    await using cluster = await Cluster.create({ hosts: 3 });
    rememberSubnets(cluster, { ipv4: true, ipv6: false });
    await cluster.configure({ ...IPV4, Backend: { Type: "udp" } });
    const one = cluster.host(1);
    await one.up(FOU);
    await cluster.host(2).up(TUN);
    await cluster.host(3).up(TUN);
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    for (const [start, type] of [[TUN, "type tun"], [FOU, "type ipip"]] as const) {
      await one.daemon.stop();
      await one.up(start);
      const kernel = await one.kernel();
      expect(kernel).toContain(type);
      expect(kernel.includes("fou port 8285")).toBe(start === FOU);
      await cluster.expectMesh();
    }
  },
  60_000,
);
