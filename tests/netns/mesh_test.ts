/** Three hosts, each backend, each family: every workload reaches every other at full MTU. */

import { describe, expect, test } from "bun:test";
import type { Family } from "../../src/addr/ip.ts";
import { Cluster } from "../support/cluster.ts";

const IPV4 = { Network: "10.5.0.0/16" };
const IPV6 = { EnableIPv6: true, IPv6Network: "fd00:5::/48" };

const STACKS: { name: string; families: Family[]; config: object }[] = [
  { name: "IPv4", families: [4], config: IPV4 },
  { name: "dual stack", families: [4, 6], config: { ...IPV4, ...IPV6 } },
  { name: "IPv6 only", families: [6], config: { EnableIPv4: false, ...IPV6 } },
];

/** The overhead of each backend in bytes; over IPv6, vxlan needs 20 more. */
const MTU = {
  vxlan: (families: Family[]) => families.includes(6) ? 1430 : 1450,
  "host-gw": () => 1500,
  alloc: () => 1500,
};

describe.each(STACKS)("$name", ({ families, config }) => {
  test.each(["vxlan", "host-gw"] as const)("three hosts reach each other with %s", async (type) => {
    await using cluster = await Cluster.create({ hosts: 3, families });
    await cluster.configure({ ...config, Backend: { Type: type } });
    await cluster.startAll();
    for (const host of cluster.hosts) expect(host.subnet().mtuBytes).toBe(MTU[type](families));
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    expect(await cluster.leases()).toHaveLength(3);
  }, 120_000);

  test("alloc gives each of three hosts a subnet and touches no kernel table", async () => {
    await using cluster = await Cluster.create({ hosts: 3, families });
    await cluster.configure({ ...config, Backend: { Type: "alloc" } });
    await cluster.startAll();
    const subnets = new Set(
      cluster.hosts.map((host) => host.subnetText().match(/SUBNET=(.*)/)?.[1]),
    );
    expect(subnets.size).toBe(3);
    for (const host of cluster.hosts) {
      expect(host.subnet().mtuBytes).toBe(MTU.alloc());
      expect(await host.kernel()).toBe("");
    }
    for (const { value } of await cluster.leases()) {
      expect(value).not.toContainAnyKeys(["BackendType", "BackendData", "BackendV6Data"]);
    }
  }, 120_000);
});

describe("a network of both families", () => {
  test("has workloads that reach each other when hosts join one after the other", async () => {
    await using cluster = await Cluster.create({ hosts: 3, families: [4, 6] });
    await cluster.configure({ ...IPV4, ...IPV6, Backend: { Type: "vxlan" } });
    for (const host of cluster.hosts) {
      await host.up();
      await cluster.attachWorkloads([host]);
    }
    await cluster.expectMesh();
  }, 120_000);
});

test("a workload's packets through the overlay carry its own address", async () => {
  await using cluster = await Cluster.create({ hosts: 2 });
  await cluster.configure({ ...IPV4 });
  await cluster.startAll({ flags: ["--ip-masq"] });
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  const [one, two] = [cluster.host(1), cluster.host(2)];
  // The peer's connection tracking shows the source address.
  const seen = await two.sh("conntrack -L -p icmp 2>/dev/null || true");
  expect(seen).toContain(`src=${one.workload(4)} dst=${two.workload(4)}`);
}, 120_000);
