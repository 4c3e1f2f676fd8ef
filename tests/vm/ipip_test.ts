/** ipip on a kernel that has it: real daemons, real packets. */

import { describe, expect, test } from "bun:test";
import { Cluster } from "../support/cluster.ts";
import { DUAL, IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";
import { describeTunnel, expectRefused } from "./tunnel_scenarios.ts";

describeTunnel({
  backend: { Type: "ipip" },
  device: "flannel.ipip",
  mtuBytes: 1480,
  encapsulation: "",
  nodeEntries: [],
  leaseType: "ipip",
  damage: [],
});

test("packets travel as protocol 4, with the sender's and the receiver's addresses", async () => {
  await using cluster = await Cluster.create({ hosts: 2 });
  rememberSubnets(cluster, { ipv4: true, ipv6: false });
  await cluster.configure({ ...IPV4, Backend: { Type: "ipip" } });
  await cluster.startAll();
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  const [one, two] = [cluster.host(1), cluster.host(2)];
  const ping = two.ping(one);
  const seen = await one.sh("timeout 30 tcpdump -c 2 -nn -i eth0 ip proto 4 2>/dev/null");
  expect((await ping.stop()).lost).toEqual([]);
  expect(seen).toContain("IP 192.0.2.2 > 192.0.2.1: IP 10.5.2.2 > 10.5.1.2: ICMP echo request");
}, 180_000);

test("with DirectRouting, the tunnel is for peers behind a router only", async () => {
  await using cluster = await Cluster.create({ hosts: 3, segments: [0, 0, 1] });
  rememberSubnets(cluster, { ipv4: true, ipv6: false });
  await cluster.configure({ ...IPV4, Backend: { Type: "ipip", DirectRouting: true } });
  await cluster.startAll();
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  const [one, two, three] = [cluster.host(1), cluster.host(2), cluster.host(3)];
  const pathTo = (host: typeof one, peer: typeof one) =>
    host.sh(`ip route get ${peer.workload(4)}`);
  expect(await pathTo(one, two)).toContain(`via ${two.address(4)} dev eth0`);
  expect(await pathTo(one, three)).toContain(`via ${three.address(4)} dev flannel.ipip`);
  expect(await pathTo(three, one)).toContain(`via ${one.address(4)} dev flannel.ipip`);
  await one.sh(`ip route add ${two.address(4)}/32 via 192.0.2.254`);
  await eventually(
    "the tunnel is used",
    10_000,
    async () => (await pathTo(one, two)).includes("dev flannel.ipip"),
  );
  await one.sh(`ip route del ${two.address(4)}/32 via 192.0.2.254`);
  await eventually(
    "the direct path is used",
    10_000,
    async () => (await pathTo(one, two)).includes("dev eth0"),
  );
}, 180_000);

test("another address of the host is what it advertises and sends from", async () => {
  await using cluster = await Cluster.create({ hosts: 2 });
  rememberSubnets(cluster, { ipv4: true, ipv6: false });
  await cluster.configure({ ...IPV4, Backend: { Type: "ipip" } });
  const [one, two] = [cluster.host(1), cluster.host(2)];
  await one.sh("ip addr add 192.0.2.101/32 dev lo");
  await two.sh("ip route add 192.0.2.101/32 via 192.0.2.1");
  await one.up({ flags: ["--iface=eth0", "--public-ip=192.0.2.101"] });
  await two.up();
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  expect(await one.kernel()).toContain("remote any local 192.0.2.101");
  expect(await two.kernel()).toContain("route 10.5.1.0/24 via 192.0.2.101 dev flannel.ipip");
}, 180_000);

test(
  "hundreds of peers, whose routes the kernel takes by nexthop objects, are reached",
  async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure({ ...IPV4, SubnetLen: 26, Backend: { Type: "ipip" } });
    const leases = Array.from({ length: 600 }, (_, index) => {
      const n = index + 100;
      const value = { PublicIP: `198.51.${n >> 8}.${n & 255}`, BackendType: "ipip" };
      const bytes = new TextEncoder().encode(JSON.stringify(value));
      return [`10.5.${n >> 2}.${(n & 3) * 64}-26`, bytes] as const;
    });
    await cluster.putLeases(leases);
    await cluster.startAll();
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    const routes = await cluster.host(1).sh("ip route show dev flannel.ipip");
    expect(routes.trim().split("\n")).toHaveLength(601);
    expect(routes).toMatch(/nhid \d+ via 198\.51\.1\.1 /);
  },
  180_000,
);

describe("a configuration is refused in one line", () => {
  test.each([
    ["an invalid option", IPV4, { DirectRouting: "maybe" }, /DirectRouting .* "maybe"/],
    ["IPv6", DUAL, {}, /ipip backend carries IPv4 only/],
  ])("with %s", async (_name, network, options, line) => {
    await expectRefused({ config: { ...network, Backend: { Type: "ipip", ...options } }, line });
  }, 180_000);
});
