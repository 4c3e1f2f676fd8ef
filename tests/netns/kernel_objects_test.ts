/** The daemon's kernel entries, compared with the texts in golden/. */

import { expect, test } from "bun:test";
import type { Family } from "../../src/addr/ip.ts";
import { Cluster } from "../support/cluster.ts";
import { expectGolden } from "../support/golden.ts";
import { DUAL, IPV4, IPV6_ONLY, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

interface Case {
  golden: string;
  families: Family[];
  config: object;
  segments?: number[];
  flags?: string[];
}

const CASES: Case[] = [
  { golden: "vxlan_ipv4", families: [4], config: { ...IPV4, Backend: { Type: "vxlan" } } },
  { golden: "vxlan_dual", families: [4, 6], config: { ...DUAL, Backend: { Type: "VXLAN" } } },
  {
    golden: "vxlan_ipv6_only",
    families: [6],
    config: { ...IPV6_ONLY, Backend: { Type: "vxlan" } },
  },
  {
    golden: "vxlan_options",
    families: [4],
    config: { ...IPV4, Backend: { Type: "vxlan", VNI: 42, Port: 4789, Learning: true, MTU: 1400 } },
  },
  {
    golden: "vxlan_direct_routing",
    families: [4, 6],
    segments: [0, 0, 1],
    config: { ...DUAL, Backend: { Type: "vxlan", DirectRouting: true } },
  },
  { golden: "host_gw_ipv4", families: [4], config: { ...IPV4, Backend: { Type: "host-gw" } } },
  { golden: "host_gw_dual", families: [4, 6], config: { ...DUAL, Backend: { Type: "host-gw" } } },
  {
    golden: "vxlan_blackhole",
    families: [4, 6],
    flags: ["--ip-blackhole-route", "--iptables-resync=1"],
    config: { ...DUAL, Backend: { Type: "vxlan" } },
  },
];

test.each(CASES)("the kernel holds exactly what golden $golden says", async (one) => {
  await using cluster = await Cluster.create({
    hosts: 3,
    families: one.families,
    ...(one.segments === undefined ? {} : { segments: one.segments }),
  });
  const ipv4 = one.families.includes(4);
  rememberSubnets(cluster, { ipv4, ipv6: one.families.includes(6) });
  await cluster.configure(one.config);
  await cluster.startAll({ flags: one.flags ?? [] });
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  const names = await cluster.macNames();
  await eventually("all is there", 30_000, async () => {
    expectGolden(one.golden, await cluster.host(1).kernel(names));
    return true;
  });
  // Compared again after every periodic check has run: no entry was added or replaced.
  await Bun.sleep(1_200);
  expectGolden(one.golden, await cluster.host(1).kernel(names));
}, 120_000);

test("the v6 device of a vxlan network refuses router advertisements", async () => {
  await using cluster = await Cluster.create({ hosts: 1, families: [4, 6] });
  await cluster.configure({ ...DUAL, Backend: { Type: "vxlan" } });
  await cluster.startAll();
  expect(await cluster.host(1).sh("cat /proc/sys/net/ipv6/conf/flannel-v6.1/accept_ra"))
    .toBe("0\n");
}, 120_000);
