/** udp by the proxy: real daemons, real packets, a thread between a TUN device and a socket. */

import { describe, expect, test } from "bun:test";
import { Cluster, PREFIX } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const TUN = { env: { FLANNELD_UDP_DATA_PATH: "tun" } };
const HEAL_MS = 30_000;

async function startCluster(hosts: number): Promise<Cluster> {
  const cluster = await Cluster.create({ hosts });
  try {
    rememberSubnets(cluster, { ipv4: true, ipv6: false });
    await cluster.configure({ ...IPV4, Backend: { Type: "udp" } });
    await cluster.startAll(TUN);
    await cluster.attachWorkloads();
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

const NODE_ENTRIES = [
  "addr 10.5.1.0/32 dev flannel0",
  "link flannel0: mtu 1472 state up address undefined type tun",
  "route 10.5.0.0/16 dev flannel0 proto 70 scope link",
].map((line) => `${line}\n`).join("");

describe("three hosts", () => {
  test("reach each other at full MTU through a persistent TUN device each", async () => {
    await using cluster = await startCluster(3);
    await cluster.expectMesh();
    const one = cluster.host(1);
    expect(await one.kernel()).toBe(NODE_ENTRIES);
    expect(await one.sh("ip -d link show flannel0")).toContain(
      "tun type tun pi off vnet_hdr off persist on",
    );
    expect(one.subnet().mtuBytes).toBe(1472);
    expect(await one.sh("ss -Hulnp sport = :8285")).toContain("192.0.2.1:8285");
  }, 120_000);

  test("follow a peer that joins, changes its address, and leaves", async () => {
    await using cluster = await startCluster(2);
    await cluster.expectMesh();
    const [one, two] = [cluster.host(1), cluster.host(2)];
    const key = `${PREFIX}/subnets/10.5.9.0-24`;
    const lease = (publicIp: string) => JSON.stringify({ PublicIP: publicIp, PublicIPv6: null });
    expect(await reply(one, "10.5.9.9")).toContain("Net Unreachable");
    // Packets for 10.5.9.0/24 come to host 2, which has a route for the address.
    await cluster.etcd.put(key, lease("192.0.2.77"));
    await eventually(
      "it is sent there",
      HEAL_MS,
      async () => !(await reply(one, "10.5.9.9")).includes("Net Unreachable"),
    );
    await two.sh("ip addr add 10.5.9.9/32 dev lo");
    await cluster.etcd.put(key, lease("192.0.2.2"));
    await eventually(
      "it answers",
      HEAL_MS,
      async () => (await reply(one, "10.5.9.9")).includes("bytes from 10.5.9.9"),
    );
    await cluster.etcd.delete(key);
    await eventually(
      "it is unreachable",
      HEAL_MS,
      async () => (await reply(one, "10.5.9.9")).includes("Net Unreachable"),
    );
    await cluster.expectMesh();
  }, 120_000);
});

describe("a sender gets an ICMP error", () => {
  test(
    "from its own node for an unknown address, and from each proxy for an expired TTL",
    async () => {
      await using cluster = await startCluster(2);
      await cluster.expectMesh();
      const [one, two] = [cluster.host(1), cluster.host(2)];
      const target = two.workload(4);
      expect(await reply(one, "10.5.200.1")).toContain(
        "From 10.5.1.0 icmp_seq=1 Destination Net Unreachable",
      );
      // Its node forwards (1), each proxy is a hop (2, 3), the other node forwards (4).
      const replies: string[] = [];
      for (const hops of [2, 3, 5]) replies.push(await reply(one, target, `-t ${hops}`));
      expect(replies[0]).toContain("From 10.5.1.0 icmp_seq=1 Time to live exceeded");
      expect(replies[1]).toContain("From 10.5.2.0 icmp_seq=1 Time to live exceeded");
      expect(replies[2]).toContain(`bytes from ${target}`);
    },
    120_000,
  );
});

test("another address of the host is advertised, listened on and sent from", async () => {
  await using cluster = await Cluster.create({ hosts: 2 });
  rememberSubnets(cluster, { ipv4: true, ipv6: false });
  await cluster.configure({ ...IPV4, Backend: { Type: "udp" } });
  const [one, two] = [cluster.host(1), cluster.host(2)];
  await one.sh("ip addr add 192.0.2.101/32 dev lo");
  await two.sh("ip route add 192.0.2.101/32 via 192.0.2.1");
  await one.up({ ...TUN, flags: ["--iface=eth0", "--public-ip=192.0.2.101"] });
  await two.up(TUN);
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  expect(await one.sh("ss -Hulnp sport = :8285")).toContain("192.0.2.101:8285");
}, 120_000);

test("a packet travels as it is, in UDP from port 8285 to port 8285", async () => {
  await using cluster = await startCluster(2);
  await cluster.expectMesh();
  const [one, two] = [cluster.host(1), cluster.host(2)];
  const ping = two.ping(one);
  const seen = await one.sh(
    "timeout 50 tcpdump -c 1 -nn -x -i eth0 src 192.0.2.2 and udp port 8285 2>/dev/null",
  );
  expect((await ping.stop()).lost).toEqual([]);
  expect(seen).toContain("IP 192.0.2.2.8285 > 192.0.2.1.8285: UDP, length 1028");
  const bytes = seen.replaceAll(/^.*IP .*\n|0x[0-9a-f]+:|\s/gm, "");
  expect(bytes.slice(28 * 2, 28 * 2 + 8)).toBe("45000404");
  expect(bytes.slice(40 * 2, 48 * 2)).toBe("0a0502020a050102"); // 10.5.2.2 to 10.5.1.2
}, 120_000);

describe("drift", () => {
  test("of the device is repaired, and the proxy attaches to it again", async () => {
    await using cluster = await startCluster(2);
    await cluster.expectMesh();
    const one = cluster.host(1);
    for (
      const script of [
        "ip link del flannel0",
        "ip link set flannel0 down",
        "ip link set flannel0 mtu 1300",
        "ip route del 10.5.0.0/16",
        "ip addr del 10.5.1.0/32 dev flannel0",
      ]
    ) {
      await one.sh(script);
      await eventually(
        `"${script}" is undone`,
        HEAL_MS,
        async () =>
          await one.kernel() === NODE_ENTRIES && (await one.http("/readyz")).status === 200,
      );
      await cluster.expectMesh();
    }
  }, 120_000);

  test("a port of another process is reported until it is free", async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    rememberSubnets(cluster, { ipv4: true, ipv6: false });
    await cluster.configure({ ...IPV4, Backend: { Type: "udp", Port: 8286 } });
    const one = cluster.host(1);
    const code = "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); " +
      's.bind(("0.0.0.0", 8286)); time.sleep(100)';
    const holder = await one.sh(`timeout 100 python3 -c '${code}' >/dev/null 2>&1 & echo $!`);
    await eventually(
      "the port is taken",
      HEAL_MS,
      async () => (await one.sh("ss -Huln sport = :8286")) !== "",
    );
    one.start(TUN);
    await eventually("readyz reports it", HEAL_MS, async () => {
      const { status, body } = await one.http("/readyz");
      if (status !== 503) throw new Error(`it says ${status}: ${body}`);
      return body.includes("a program on this host uses UDP port 8286: python3");
    });
    await one.sh(`kill ${holder}`);
    await one.ready();
    await cluster.host(2).up(TUN);
    await cluster.attachWorkloads();
    await cluster.expectMesh();
  }, 120_000);
});

test("a restart loses at most what is sent while no process has the device open", async () => {
  await using cluster = await startCluster(2);
  await cluster.expectMesh();
  const [one, two] = [cluster.host(1), cluster.host(2)];
  const before = await one.kernel();
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const ping = one.ping(two);
    await eventually("the ping runs", HEAL_MS, () => ping.received > 20);
    await one.daemon.stop(signal);
    expect(await one.kernel()).toBe(before);
    await one.up(TUN);
    const sentUntilReady = await ping.sent();
    const { received } = ping;
    await eventually("the ping continues", HEAL_MS, () => ping.received > received + 20);
    const { lost } = await ping.stop();
    // One gap, with no loss before it, and none from when the daemon is ready.
    expect((lost.at(-1) ?? 0) - (lost[0] ?? 1) + 1).toBe(lost.length);
    expect(lost.at(-1) ?? 0).toBeLessThanOrEqual(sentUntilReady);
  }
}, 120_000);

test("a daemon stops within its time limit, and its thread does not spin", async () => {
  await using cluster = await startCluster(2);
  await cluster.expectMesh();
  const one = cluster.host(1);
  const ticks = async () =>
    (await one.sh(`cat /proc/${one.daemon.pid}/stat`)).trim().split("\n") // of all its threads
      .map((line) => line.slice(line.lastIndexOf(")") + 2).split(" "))
      .reduce((sum, fields) => sum + Number(fields[11]) + Number(fields[12]), 0);
  const begun = await ticks();
  await Bun.sleep(2_000);
  expect(await ticks() - begun).toBeLessThan(50); // of 200
  const { code, milliseconds } = await one.daemon.stop();
  expect(code).toBe(0);
  expect(one.daemon.log()).not.toContain("not all parts ended");
  expect(milliseconds).toBeLessThan(20_000);
}, 120_000);

/** What `ping` prints for one echo request from the host's workload. */
function reply(host: Host, address: string, flags = ""): Promise<string> {
  const { workloadNamespace } = host.station;
  return host.sh(
    `nsenter --net=/run/netns/${workloadNamespace} ping -n -c 1 -W 3 ${flags} ${address} || true`,
  );
}
