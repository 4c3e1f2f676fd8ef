/** The overlay never takes addresses that the hosts use: their network, gateways, the store. */

import { expect, test } from "bun:test";
import { parsePrefixMasked, prefixAddress } from "../../src/addr/prefix.ts";
import { Cluster, PREFIX } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { DUAL, IPV4 } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

const VXLAN = { ...IPV4, Backend: { Type: "vxlan" } };

test("a start that would cut hosts off ends with one line and without a lease", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  const host = cluster.host(1);
  const refusal = async (flags: string[], env = {}) => {
    const daemon = host.start({ flags, env });
    expect(await daemon.exitCode()).toBe(1);
    expect(await host.kernel()).toBe("");
    expect(await cluster.leases()).toEqual([]);
    const lines = daemon.logLines(/^[EF]/);
    expect(lines).toHaveLength(1);
    return lines[0] as string;
  };
  await cluster.configure(VXLAN);
  expect(await refusal(["--public-ip=127.0.0.1"])).toContain(
    "--public-ip 127.0.0.1 is a loopback address: the other nodes cannot send to it; set",
  );
  const local = parsePrefixMasked(`${host.address(4)}/24`) as NonNullable<
    ReturnType<typeof parsePrefixMasked>
  >;
  expect(await refusal([`--public-ip=${prefixAddress(local)}`])).toContain(
    `is the network address of ${local}`,
  );
  await cluster.configure({ ...VXLAN, Network: local, SubnetLen: 28 });
  expect(await refusal([])).toContain(
    `Network ${local} covers ${local}, the network of interface eth0, by which this host ` +
      `(${host.address(4)})`,
  );
  // A backend that routes the whole network into its device.
  await cluster.configure({ ...IPV4, Backend: { Type: "udp" } });
  const endpoints = [`--etcd-endpoints=${host.endpoints},http://10.5.7.9:2379`];
  expect(await refusal(endpoints, { FLANNELD_UDP_DATA_PATH: "tun" })).toContain(
    "Network 10.5.0.0/16 covers 10.5.7.9, the address of http://10.5.7.9:2379, and this backend",
  );
}, 120_000);

test("a lease that contains the gateway is ignored while it is the gateway", async () => {
  await using cluster = await Cluster.create({ hosts: 1 });
  const host = cluster.host(1);
  await cluster.configure(VXLAN);
  const route = (await host.sh("ip route show default")).trim();
  const gateway = "10.5.9.1";
  const toGateway = `ip route replace default via ${gateway} dev lan0`;
  await host.sh(`
ip link add lan0 type bridge
ip addr add 10.5.9.2/32 dev lan0
ip link set lan0 up
ip route add ${gateway}/32 dev lan0
${toGateway}`);
  const daemon = await host.up({ flags: ["--iface=eth0"] });
  expect(daemon.logLines(/^W/).map((line) => line.slice(line.indexOf("Network")))).toEqual([
    "Network 10.5.0.0/16 overlaps 10.5.9.2/32, the network of interface lan0: a host there " +
    "becomes unreachable if its address is in a node's subnet; choose a network that nothing " +
    "else uses",
    `Network 10.5.0.0/16 covers ${gateway}, the gateway of this host: this node takes no subnet ` +
    "that contains it and ignores other nodes' leases that do; choose a network that nothing " +
    "else uses",
  ]);
  await cluster.etcd.put(
    `${PREFIX}/subnets/10.5.9.0-24`,
    `{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"vxlan",` +
      `"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:09"}}`,
  );
  const isIgnored = () => daemon.logLines(/ignoring lease 10\.5\.9\.0-24/).length > 0;
  await eventually("the lease is ignored", 30_000, isIgnored);
  expect(daemon.logLines(/ignoring lease/)[0]).toContain(
    `its subnet 10.5.9.0/24 contains ${gateway}, the gateway of this host`,
  );
  const hasRoute = async () =>
    (await host.sh("ip route show 10.5.9.0/24")).includes("dev flannel.1");
  expect(await hasRoute()).toBe(false);
  await host.sh(`ip route replace ${route}`);
  await eventually("the lease is used", 30_000, hasRoute);
  await host.sh(toGateway);
  await eventually("the lease is ignored again", 30_000, async () => !await hasRoute());
}, 120_000);

test("a restart does not warn of the overlay's own devices and addresses", async () => {
  await using cluster = await Cluster.create({ hosts: 2 });
  await cluster.configure(VXLAN);
  await cluster.startAll();
  await cluster.attachWorkloads();
  const host = cluster.host(1);
  await host.daemon.stop();
  const daemon = await host.up();
  expect(daemon.logLines(/^W.*Network/)).toEqual([]);
  // Nor without the subnet file, whose directory does not survive a reboot.
  await daemon.stop();
  await host.sh(`rm ${host.subnetFile}`);
  expect((await host.up()).logLines(/^W.*Network/)).toEqual([]);
  await cluster.expectMesh();
}, 120_000);

test.each(["vxlan", "host-gw"])("%s: an interface that is renamed is followed", async (type) => {
  await using cluster = await Cluster.create({ hosts: 2 });
  await cluster.configure({ ...IPV4, Backend: { Type: type } });
  await cluster.startAll();
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  const [one, two] = cluster.hosts as [Host, Host];
  const ifindex = async () => await one.sh("cat /sys/class/net/flannel.1/ifindex || true");
  const before = await ifindex();
  const route = (await one.sh("ip route show default")).trim().replace("eth0", "lan0");
  const pings = [one.ping(two), two.ping(one)];
  await eventually("packets pass", 30_000, () => pings.every(({ received }) => received > 10));
  // Linux renames a device that is up since 6.2; before that it has to be down for a moment.
  const isLive = await one.sh("ip link set eth0 name lan0 && echo live || true") !== "";
  if (!isLive) {
    await one.sh(`
ip link set eth0 down
ip link set eth0 name lan0
ip link set lan0 up
ip route replace ${route}`);
  }
  await eventually(
    "it is followed",
    30_000,
    () => one.daemon.logLines(/interface eth0 was renamed to lan0/).length > 0,
  );
  for (const ping of pings) {
    const { lost } = await ping.stop();
    if (isLive) expect(lost).toEqual([]);
  }
  await eventually("it is ready", 30_000, async () => (await one.http("/readyz")).status === 200);
  await cluster.expectMesh();
  expect(await ifindex()).toBe(before);
  // Later entries go to the device's new name, and deleted ones are noticed.
  await one.sh("ip link set lan0 down && ip link set lan0 up");
  await one.sh(`ip route replace ${route}`);
  await cluster.expectMesh();
}, 120_000);

test("IPv6 is enabled on our own device where the host disables it", async () => {
  await using cluster = await Cluster.create({ hosts: 2, families: [4, 6] });
  await cluster.configure({ ...DUAL, Backend: { Type: "vxlan" } });
  const one = cluster.host(1);
  await one.sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
  await cluster.startAll();
  expect((await one.sh("cat /proc/sys/net/ipv6/conf/flannel-v6.1/disable_ipv6")).trim()).toBe("0");
  await one.sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=0");
  await cluster.attachWorkloads();
  await cluster.expectMesh();
  // Addresses and routes are removed with it, and the sysctl causes no notification.
  await one.sh("sysctl -qw net.ipv6.conf.flannel-v6/1.disable_ipv6=1");
  await cluster.expectMesh();
}, 120_000);
