/** The daemon stops, crashes, is replaced: no flow loses a packet and no stale entry stays. */

import { describe, expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster, PREFIX } from "../support/cluster.ts";
import { FLANNELD } from "../support/host.ts";
import { DUAL, IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

describe.each(["vxlan", "host-gw"])("with %s", (type) => {
  test("a restart, a crash and an upgrade under a running ping lose no packet", async () => {
    await using cluster = await Cluster.create({ hosts: 2, families: [4, 6] });
    await cluster.configure({ ...DUAL, Backend: { Type: type } });
    await cluster.startAll({ flags: ["--ip-masq"] });
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const [before, subnet] = [await one.kernel(), one.subnetText()];
    const pings = [one.ping(two, 4), one.ping(two, 6), two.ping(one, 4), two.ping(one, 6)];
    const upgraded = join(one.directory, "flanneld-next");
    copyFileSync(FLANNELD, upgraded);
    for (
      const [signal, binary] of [
        ["SIGTERM", FLANNELD],
        ["SIGKILL", FLANNELD],
        ["SIGTERM", upgraded],
        ["SIGKILL", FLANNELD],
      ] as const
    ) {
      await one.daemon.stop(signal);
      expect(await one.kernel()).toBe(before);
      await Bun.sleep(100);
      await one.up({ flags: ["--ip-masq"], binary });
      expect(await one.kernel()).toBe(before);
      expect(one.subnetText()).toBe(subnet);
    }
    for (const ping of pings) expect((await ping.stop()).lost).toEqual([]);
  }, 120_000);

  test(
    "the next start repairs what a crash at any moment of a start leaves",
    async () => {
      await using cluster = await Cluster.create({ hosts: 2 });
      await cluster.configure({ ...IPV4, Backend: { Type: type } });
      await cluster.startAll();
      await cluster.attachWorkloads();
      await cluster.expectMesh();
      const [one, two] = [cluster.host(1), cluster.host(2)];
      const before = await one.kernel();
      const ping = two.ping(one);
      for (const lifetimeMs of [10, 40, 80, 120, 200]) {
        await one.daemon.stop("SIGKILL");
        const doomed = one.start();
        await Bun.sleep(lifetimeMs);
        await doomed.stop("SIGKILL");
        await one.up();
        expect(await one.kernel()).toBe(before);
      }
      expect((await ping.stop()).lost).toEqual([]);
    },
    120_000,
  );

  test(
    "the entries of peers that left while the daemon was down are removed at its start",
    async () => {
      await using cluster = await Cluster.create({ hosts: 3 });
      rememberSubnets(cluster, { ipv4: true, ipv6: false });
      await cluster.configure({ ...IPV4, Backend: { Type: type } });
      await cluster.startAll();
      const [one, two, three] = [cluster.host(1), cluster.host(2), cluster.host(3)];
      await eventually("both peers are there", 30_000, async () => {
        const text = await one.kernel();
        return text.includes("route 10.5.2.0/24") && text.includes("route 10.5.3.0/24");
      });
      await one.daemon.stop();
      await three.daemon.stop("SIGKILL");
      await cluster.etcd.delete(`${PREFIX}/subnets/${(await cluster.leaseOf(three)).key}`);
      await one.up();
      for (const host of [one, two]) {
        await eventually("the peer is gone", 30_000, async () => {
          const text = await host.kernel();
          return !text.includes("10.5.3.") && !text.includes(three.address(4));
        });
      }
      expect(await one.kernel()).toContain("route 10.5.2.0/24");
    },
    120_000,
  );
});

test("a restart keeps the routes of other programs", async () => {
  await using cluster = await Cluster.create({ hosts: 2 });
  await cluster.configure({ ...IPV4, Backend: { Type: "host-gw" } });
  const one = cluster.host(1);
  await one.sh(
    "ip route add 10.99.0.0/16 via 192.0.2.254\nip route add 10.5.250.0/24 via 192.0.2.9",
  );
  await cluster.startAll();
  await one.daemon.stop();
  await one.up();
  await Bun.sleep(300);
  const text = await one.kernel();
  expect(text).toContain("route 10.99.0.0/16 via 192.0.2.254 dev eth0");
  expect(text).toContain("route 10.5.250.0/24 via 192.0.2.9 dev eth0");
}, 120_000);

test("the VTEP's MAC survives the loss of the device between two runs", async () => {
  await using cluster = await Cluster.create({ hosts: 1, families: [4, 6] });
  await cluster.configure({ ...DUAL, Backend: { Type: "vxlan" } });
  await cluster.startAll();
  const one = cluster.host(1);
  const before = await one.kernel();
  await one.daemon.stop();
  await one.sh("ip link del flannel.1\nip link del flannel-v6.1");
  await one.up();
  expect(await one.kernel()).toBe(before);
}, 120_000);

test("a device with other options is replaced, and the log gives the reason", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  await cluster.configure({ ...IPV4, Backend: { Type: "vxlan" } });
  await cluster.startAll();
  const one = cluster.host(1);
  await one.daemon.stop();
  await cluster.configure({ ...IPV4, Backend: { Type: "vxlan", Port: 4789 } });
  const daemon = await one.up();
  expect(await one.kernel()).toContain("dstport 4789");
  expect(daemon.logLines(/flannel\.1/).join("\n")).toMatch(/port/);
}, 120_000);

test(
  "two daemons on one host, with prefixes and networks of their own, leave each other alone",
  async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure({ ...IPV4, Backend: { Type: "vxlan" } });
    const second = { Network: "10.6.0.0/16", Backend: { Type: "vxlan", VNI: 2 } };
    await cluster.etcd.put("/second/config", JSON.stringify(second));
    await cluster.startAll();
    const firsts = cluster.hosts.map((host) => host.daemon);
    for (const host of cluster.hosts) {
      // The host drops packets that no rule accepts: both daemons' rules are needed.
      await host.sh("iptables -P FORWARD DROP");
      host.start({
        flags: [
          "--etcd-prefix=/second",
          `--subnet-file=${host.directory}/second.env`,
          "--healthz-port=8472",
        ],
      });
      await eventually(
        "the second is ready",
        30_000,
        async () => (await host.http("/readyz", 8472)).status === 200,
      );
    }
    await cluster.attachWorkloads();
    await cluster.expectMesh();
    const one = cluster.host(1);
    await eventually("both networks are there", 30_000, async () => {
      const text = await one.kernel();
      return /route 10\.5\.\d+\.0\/24 .* dev flannel\.1 /.test(text) &&
        /route 10\.6\.\d+\.0\/24 .* dev flannel\.2 /.test(text);
    });
    const before = await one.kernel();
    await one.daemon.stop();
    await firsts[0]?.stop();
    await one.up();
    expect(await one.kernel()).toBe(before);
    const rules = await one.sh("iptables-save -t filter");
    expect(rules).toContain("-s 10.5.0.0/16");
    expect(rules).toContain("-s 10.6.0.0/16");
  },
  120_000,
);
