/** An underlay that is too small for IPv6 inside a tunnel: the kernel refuses IPv6 there. */

import { expect, test } from "bun:test";
import { Cluster } from "../support/cluster.ts";
import { DUAL, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const PROBLEM = "interface eth0 has an MTU of 1300 bytes, which leaves 1230 for packets in the " +
  "tunnel; IPv6 needs 1280 (RFC 8200): raise its MTU to at least 1350, or set EnableIPv6 to false";
const HEAL_MS = 30_000;

test("ends the start with one line and without creating anything", async () => {
  await using cluster = await Cluster.create({ hosts: 1, families: [4, 6] });
  await cluster.configure({ ...DUAL, Backend: { Type: "vxlan" } });
  const one = cluster.host(1);
  await one.sh("ip link set eth0 mtu 1300");
  const daemon = one.start();
  expect(await daemon.exitCode()).toBe(1);
  const lines = daemon.logLines(/^[EF]/);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain(PROBLEM);
  expect(await one.kernel()).toBe("");
}, 120_000);

test("is reported by /readyz while it lasts, and then repaired", async () => {
  await using cluster = await Cluster.create({ hosts: 2, families: [4, 6] });
  rememberSubnets(cluster, { ipv4: true, ipv6: true });
  await cluster.configure({ ...DUAL, Backend: { Type: "vxlan" } });
  await cluster.startAll();
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  const one = cluster.host(1);
  const before = await one.kernel();
  await one.sh("ip link set eth0 mtu 1300");
  await eventually("/readyz reports it and nothing else", HEAL_MS, async () => {
    const { status, body } = await one.http("/readyz");
    expect(body.trim().split("\n")).toHaveLength(2);
    return status === 503 && body.includes(PROBLEM);
  });
  await eventually("IPv4 has the smaller MTU", HEAL_MS, async () => {
    expect((await one.kernel()).split("\n").filter((line) => line.includes("flannel-v6.1")))
      .toEqual([expect.stringMatching(/^link flannel-v6\.1: mtu 1230 /)]);
    return (await one.kernel()).includes("link flannel.1: mtu 1250");
  });
  expect(one.daemon.logLines(/cannot (set|delete)/)).toEqual([]);
  await one.sh("ip link set eth0 mtu 1500");
  await eventually("all is as it was", HEAL_MS, async () => {
    expect(await one.kernel()).toBe(before);
    return (await one.http("/readyz")).status === 200;
  });
  await cluster.expectMesh();
}, 120_000);
