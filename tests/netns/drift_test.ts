/** Another program changes the daemon's entries: the kernel's notification triggers the repair. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { Cluster } from "../support/cluster.ts";
import type { Host } from "../support/host.ts";
import { DUAL, IPV4, rememberSubnets } from "../support/networks.ts";
import { eventually } from "../support/wait.ts";

/** Without notifications, the daemon checks the kernel only every five minutes, rules per flag. */
const HEAL_MS = 30_000;
const NO_CHECKS = ["--iptables-resync=3600"];

/** The firewall rules that name flannel, of both families and both tools. */
function rules(host: Host): Promise<string> {
  return host.sh(`iptables-save 2>/dev/null | grep -i flannel || true
ip6tables-save 2>/dev/null | grep -i flannel || true
nft list table ip flannel-ipv4 2>/dev/null || true
nft list table ip6 flannel-ipv6 2>/dev/null || true`);
}

/** Two hosts for all tests of a group; the second is only there to be a peer. */
function sharedPair(config: object, flags: readonly string[] = []): { readonly host: Host } {
  let cluster: Cluster | undefined;
  beforeAll(async () => {
    cluster = await Cluster.create({ hosts: 2, families: [4, 6] });
    rememberSubnets(cluster, { ipv4: true, ipv6: true });
    await cluster.configure(config);
    await cluster.startAll({ flags: [...NO_CHECKS, ...flags] });
    await cluster.attachWorkloads();
    await cluster.expectMesh();
  }, 120_000);
  afterAll(async () => await cluster?.[Symbol.asyncDispose]());
  return {
    get host() {
      return (cluster as Cluster).host(1);
    },
  };
}

/** Repairs of an entry that keeps changing are delayed: each test starts a new daemon. */
function freshDaemon(pair: { readonly host: Host }): void {
  beforeEach(async () => {
    await pair.host.daemon.stop("SIGKILL");
    await pair.host.up({ flags: NO_CHECKS });
  }, 120_000);
}

/** Applies the damage and expects the previous state back. */
async function expectHealed(
  host: Host,
  damage: string,
  read: (host: Host) => Promise<string>,
): Promise<void> {
  const before = await read(host);
  expect(before).not.toBe("");
  await host.sh(damage);
  await eventually(`"${damage}" is undone`, HEAL_MS, async () => {
    const now = await read(host);
    if (now !== before) throw new Error(`it reads\n${now}instead of\n${before}`);
    return true;
  });
  for (const address of ["10.5.2.1", "fd00:5:0:2::1"]) {
    await eventually("packets flow", HEAL_MS, async () => {
      await host.sh(`ping -c 1 -W 1 ${address} >/dev/null`);
      return true;
    });
  }
}

const kernel = (host: Host) => host.kernel();

describe("with vxlan", () => {
  const pair = sharedPair({ ...DUAL, Backend: { Type: "vxlan" } });
  freshDaemon(pair);
  const V4 = { device: "flannel.1", subnet: "10.5.2.0", length: 24, own: "10.5.1.0/32" };
  const V6 = {
    device: "flannel-v6.1",
    subnet: "fd00:5:0:2::",
    length: 64,
    own: "fd00:5:0:1::/128",
  };

  describe.each([V4, V6])("$device", ({ device, subnet, length, own }) => {
    const firstFdb = `set -- $(bridge fdb show dev ${device} | grep dst)`;
    test.each([
      ["a deleted route", `ip route del ${subnet}/${length}`],
      ["a route to elsewhere", `ip route replace ${subnet}/${length} dev eth0`],
      ["a deleted neighbour", `ip neigh del ${subnet} dev ${device}`],
      [
        "a neighbour with another MAC",
        `ip neigh replace ${subnet} lladdr 02:00:00:00:00:99 dev ${device} nud permanent`,
      ],
      [
        "a deleted forwarding entry",
        `${firstFdb}; bridge fdb del $1 dev ${device} dst $3 self`,
      ],
      [
        "a forwarding entry to another host",
        `${firstFdb}; bridge fdb replace $1 dev ${device} dst ` +
        `$(echo $3 | sed 's/2$/9/') self permanent`,
      ],
      ["a deleted address", `ip addr del ${own} dev ${device}`],
      ["a device set down", `ip link set ${device} down`],
      ["a deleted device", `ip link del ${device}`],
      ["another MTU", `ip link set ${device} mtu 1300`],
      ["another MAC", `ip link set ${device} address 02:00:00:00:00:98`],
      [
        "a stale route on our device",
        `ip route add ${subnet.replace("2", "7")}/${length} dev ${device}`,
      ],
      [
        "a stale neighbour and forwarding entry on our device",
        `ip neigh add ${subnet.replace(":2:", ":7:").replace(".2.", ".7.")} ` +
        `lladdr 02:00:00:00:00:97 dev ${device} nud permanent
bridge fdb add 02:00:00:00:00:97 dev ${device} dst $(bridge fdb show dev ${device} | ` +
        `sed -n 's/.* dst \\([^ ]*\\) .*/\\1/p' | head -1) self permanent`,
      ],
      [
        "everything at once",
        `ip route flush dev ${device}; ip neigh flush dev ${device} nud permanent
ip addr flush dev ${device} scope global; ip link set ${device} down`,
      ],
    ])("%s is repaired", async (_name, damage) => {
      await expectHealed(pair.host, damage, kernel);
    }, 120_000);
  });

  test("a renamed device is created again under its own name", async () => {
    await expectHealed(pair.host, "ip link set flannel.1 name stolen\nip link del stolen", kernel);
  }, 120_000);
});

describe("with host-gw", () => {
  const pair = sharedPair({ ...DUAL, Backend: { Type: "host-gw" } });
  test.each([
    ["a deleted IPv4 route", "ip route del 10.5.2.0/24"],
    ["a deleted IPv6 route", "ip -6 route del fd00:5:0:2::/64"],
    ["an IPv4 route to elsewhere", "ip route replace 10.5.2.0/24 via 192.0.2.254 proto 70"],
    [
      "the external interface set down and up",
      `ip link set eth0 down; ip link set eth0 up
ip -6 addr add 2001:db8::1/64 dev eth0 nodad; ip -6 route add default via 2001:db8::fffe
ip route add default via 192.0.2.254`,
    ],
  ])("%s is repaired", async (_name, damage) => {
    await expectHealed(pair.host, damage, kernel);
  }, 120_000);
});

describe("the rules in iptables mode", () => {
  const pair = sharedPair({ ...DUAL, Backend: { Type: "vxlan" } }, ["--ip-masq"]);
  test.each([
    ["a flushed chain", "iptables -F FLANNEL-FWD"],
    ["a flushed IPv6 chain", "ip6tables -t nat -F FLANNEL-POSTRTG"],
    ["a deleted rule", "iptables -t nat -D FLANNEL-POSTRTG 2"],
    [
      "a deleted jump",
      "iptables -D FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD",
    ],
    ["a flushed table", "iptables -t nat -F; iptables -t nat -X"],
    ["flushed tables of both families", "iptables -F; ip6tables -F; ip6tables -X FLANNEL-FWD"],
  ])("%s is repaired", async (_name, damage) => {
    await expectHealed(pair.host, damage, rules);
  }, 120_000);
});

describe("the rules in nftables mode", () => {
  const pair = sharedPair({ ...DUAL, EnableNFTables: true, Backend: { Type: "vxlan" } }, [
    "--ip-masq",
  ]);
  test.each([
    ["a flushed chain", "nft flush chain ip flannel-ipv4 forward"],
    ["a flushed IPv6 chain", "nft flush chain ip6 flannel-ipv6 postrtg"],
    ["a deleted table", "nft delete table ip flannel-ipv4"],
    ["a flushed ruleset", "nft flush ruleset"],
  ])("%s is repaired", async (_name, damage) => {
    await expectHealed(pair.host, damage, rules);
  }, 120_000);
});

/**
 * The kernel deletes another program's IPv4 routes without a notification when their device goes.
 * A bridge of a container runtime is an example: its subnet may be another node's from now on.
 */
describe.each([
  { Type: "vxlan" },
  { Type: "host-gw" },
])("with $Type, the subnet's route of another program is replaced when it has disappeared", (
  Backend,
) => {
  let cluster: Cluster;
  let host: Host;

  beforeAll(async () => {
    cluster = await Cluster.create({ hosts: 2 });
    rememberSubnets(cluster, { ipv4: true, ipv6: false });
    await cluster.configure({ ...IPV4, Backend });
    await cluster.host(2).up();
    host = cluster.host(1);
  }, 120_000);

  afterEach(async () => {
    await host.daemon.stop();
    await host.sh("ip link delete other0 2>/dev/null || true; ip route flush proto 70");
  });

  afterAll(async () => await cluster?.[Symbol.asyncDispose]());

  test.each([
    { how: "with its device", end: "ip link delete other0" },
    { how: "with its device that was set down", end: "ip link set other0 down" },
    { how: "with the last address of its device", end: "ip address flush dev other0" },
    { how: "by a command", end: "ip route delete 10.5.2.0/24" },
  ])("$how", async ({ end }) => {
    await host.sh(`ip link add other0 type bridge && ip link set other0 up
ip address add 10.9.0.1/24 dev other0 && ip route add 10.5.2.0/24 dev other0`);
    host.start({ flags: NO_CHECKS });
    await eventually("the conflict is reported", HEAL_MS, async () => {
      return (await host.http("/readyz")).body.includes("conflicts with an existing entry");
    });
    await host.sh(end);
    await eventually(`after "${end}", the route is ours`, HEAL_MS, async () => {
      return (await host.sh("ip route show 10.5.2.0/24")).includes("proto 70");
    });
  }, 120_000);
});

test(
  "a changed MTU of the external interface reaches the device and the subnet file",
  async () => {
    await using cluster = await Cluster.create({ hosts: 2 });
    await cluster.configure({ ...IPV4, Backend: { Type: "vxlan" } });
    await cluster.startAll();
    const one = cluster.host(1);
    await one.sh("ip link set eth0 mtu 1400");
    await eventually(
      "the device follows",
      30_000,
      async () => (await one.kernel()).includes("link flannel.1: mtu 1350"),
    );
    await eventually(
      "the subnet file follows",
      30_000,
      () => one.subnetText().includes("FLANNEL_MTU=1350\n"),
    );
  },
  120_000,
);
